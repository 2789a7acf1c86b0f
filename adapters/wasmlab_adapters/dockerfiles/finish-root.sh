#!/bin/sh
# mmdebstrap's hook for a root that was only unpacked: what the packages' own scripts would have made, and less ballast.
set -eu
root=$1
cp "$root/usr/share/base-passwd/passwd.master" "$root/etc/passwd"
cp "$root/usr/share/base-passwd/group.master" "$root/etc/group"
[ ! -e "$root/usr/share/base-files/nsswitch.conf" ] || cp "$root/usr/share/base-files/nsswitch.conf" "$root/etc/"
mkdir -p "$root/usr/share/wasmlab"
for package in "$root"/var/cache/apt/archives/*.deb; do
    name=${package##*/}
    echo "${name%.deb}"
done >"$root/usr/share/wasmlab/packages"
# Not this machine's names and servers; there is no network.
rm -f "$root/etc/resolv.conf" "$root/etc/hostname" "$root"/etc/apt/sources.list
rm -rf "$root"/usr/share/doc "$root"/usr/share/man "$root"/usr/share/locale "$root"/usr/share/info \
    "$root"/usr/share/lintian "$root"/usr/share/perl* "$root"/usr/lib/*/perl* "$root"/var/cache/apt "$root"/var/lib/apt
