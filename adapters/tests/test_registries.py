"""Registries by clients that stand in for the real ones, and the archives that come from them.  No network."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest

from wasmlab_adapters.archives import unpack
from wasmlab_adapters.errors import EngineUnavailable
from wasmlab_adapters.install import install
from wasmlab_adapters.registries import REGISTRIES, debian
from wasmlab_adapters.registries.order import source_folder
from wasmlab_matrices.load import Package, load_engines

Entry = tuple[str, bytes | str]
"""A name, and content or the target of a symbolic link."""


def tarball(path: Path, *entries: Entry | tarfile.TarInfo) -> Path:
    with tarfile.open(path, "w:gz") as out:
        for entry in entries:
            if isinstance(entry, tarfile.TarInfo):
                out.addfile(entry)
                continue
            name, content = entry
            info = tarfile.TarInfo(name)
            info.mode = 0o4755
            if isinstance(content, str):
                info.type, info.linkname = tarfile.SYMTYPE, content
                out.addfile(info)
            else:
                info.size = len(content)
                out.addfile(info, io.BytesIO(content))
    return path


def deb(folder: Path, *entries: Entry, name: str = "toy.deb") -> Path:
    """A Debian package; made by hand, because dpkg-deb would refuse to build some of them."""
    data = tarball(folder / "data.tar.gz", *entries).read_bytes()
    control = tarball(folder / "control.tar.gz", ("./control", b"Package: toy\n")).read_bytes()
    path = folder / name
    with path.open("wb") as out:
        out.write(b"!<arch>\n")
        for member, content in (("debian-binary", b"2.0\n"), ("control.tar.gz", control), ("data.tar.gz", data)):
            out.write(f"{member:<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(content):<10}`\n".encode())
            out.write(content + b"\n" * (len(content) % 2))
    return path


needs_dpkg = pytest.mark.skipif(not shutil.which("dpkg-deb"), reason="no dpkg-deb on this system")


def test_tarballs(tmp_path: Path) -> None:
    unpack([tarball(tmp_path / "x.tgz", ("package/bin/node", b"run"))], tmp_path / "out")
    found = tmp_path / "out" / "package" / "bin" / "node"
    assert found.read_bytes() == b"run"
    assert found.stat().st_mode & 0o7777 == 0o700


@pytest.mark.parametrize("name", ["../x", "/x", "a/../../x", "a//x", "a/./x", ".."])
def test_tarballs_that_lead_outside(tmp_path: Path, name: str) -> None:
    with pytest.raises(EngineUnavailable, match="leads outside"):
        unpack([tarball(tmp_path / "x.tgz", (name, b"boo"))], tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_tarballs_have_no_links_and_no_devices(tmp_path: Path) -> None:
    for number, kind in enumerate((tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE)):
        info = tarfile.TarInfo("x")
        info.type, info.linkname = kind, "/etc/passwd"
        with pytest.raises(EngineUnavailable, match="no file"):
            unpack([tarball(tmp_path / "x.tgz", info)], tmp_path / f"{number}")


def test_damaged_tarballs(tmp_path: Path) -> None:
    whole = tarball(tmp_path / "x.tgz", ("a", os.urandom(10_000))).read_bytes()
    for number, data in enumerate((b"", b"\x1f\x8b", whole[:-40], whole[:200] + bytes(100) + whole[300:])):
        (tmp_path / "y.tgz").write_bytes(data)
        with pytest.raises(EngineUnavailable, match="cannot be unpacked"):
            unpack([tmp_path / "y.tgz"], tmp_path / f"{number}")


@needs_dpkg
def test_debs_with_links(tmp_path: Path) -> None:
    one = deb(tmp_path, ("./usr/lib/x/libtoy.so.1.2", b"lib"), ("./usr/lib/x/libtoy.so.1", "libtoy.so.1.2"))
    links = [("./usr/lib64/ld.so", "../lib/x/libtoy.so.1"), ("./usr/a", "/usr/lib/x"), ("./usr/dangling", "nowhere")]
    two = deb(tmp_path, *links, name="two.deb")
    unpack([two, one], tmp_path / "out")  # a link may come before what it leads to
    usr = tmp_path / "out" / "usr"
    assert (usr / "lib64" / "ld.so").read_bytes() == b"lib"
    assert (usr / "a" / "libtoy.so.1").read_bytes() == b"lib"
    assert not (usr / "a").readlink().is_absolute()


@needs_dpkg
@pytest.mark.parametrize("target", ["../x", "a/../../x", "../../x", "/../x", "/a/../../../x", "..", ""])
def test_links_that_lead_outside(tmp_path: Path, target: str) -> None:
    with pytest.raises(EngineUnavailable, match="leads outside|cannot be unpacked"):
        unpack([deb(tmp_path, ("./link", target), ("./a/b/link", "c/../../.."))], tmp_path / "out")


@needs_dpkg
def test_nothing_is_written_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    unpack([deb(tmp_path, ("./d", str(tmp_path / "outside")), ("./d/x", b"boo"))], tmp_path / "out")
    assert list((tmp_path / "outside").iterdir()) == []
    assert (tmp_path / "out" / "d" / "x").read_bytes() == b"boo"


# Clients


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder whose programs come first."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.setenv("WASMLAB_CACHE", str(tmp_path / "cache"))
    return folder


def program(folder: Path, name: str, script: str) -> None:
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)


def toy(registry: str, pins: dict[str, str] | None = None) -> Package:
    return Package(registry, "@toy/engine-{arch}", "1.0.0", pins or {}, {"amd64": "x64", "arm64": "arm64"})


def npm(programs: Path, tmp_path: Path) -> Path:
    """An npm that has one version of one package."""
    found = tarball(tmp_path / "toy.tgz", ("package/run", b"42"))
    program(
        programs,
        "npm",
        f"""for last; do case $last in --pack-destination=*) to=${{last#*=}};; esac; done
        case $last in
            @toy/engine-x64@1.0.*) cp {found} "$to/toy-engine-${{last##*@}}.tgz";;
            --json) echo '["0.9.0", "1.0.0"]';;
            *) echo 'npm error code ETARGET' >&2; exit 1;;
        esac""",
    )
    return found


def test_npm(programs: Path, tmp_path: Path) -> None:
    pins = {"toy-engine-1.0.0.tgz": hashlib.sha256(npm(programs, tmp_path).read_bytes()).hexdigest()}
    folder = install(toy("npm", pins), "", "amd64")
    assert (folder / "package" / "run").read_text() == "42"
    assert folder.parent == tmp_path / "cache" / "engines" / "npm"
    assert (folder / "wasmlab-sources.txt").read_text() == "".join(f"{d}  {n}\n" for n, d in pins.items())
    assert install(toy("npm"), "1.0.1", "amd64") != folder  # any version, side by side
    with pytest.raises(EngineUnavailable, match=r"^there is no @toy/engine-x64 7\.0\.0 for amd64$") as caught:
        install(toy("npm"), "7.0.0", "amd64")
    assert caught.value.hint == "near it: 0.9.0, 1.0.0"


def test_npm_with_a_wrong_digest(programs: Path, tmp_path: Path) -> None:
    npm(programs, tmp_path)
    with pytest.raises(EngineUnavailable, match="not the pinned 0000"):
        install(toy("npm", {"toy-engine-1.0.0.tgz": "0" * 64}), "", "amd64")
    assert [path.suffix for path in (tmp_path / "cache/engines/npm").iterdir()] == [".lock"]


@pytest.mark.parametrize(
    ("registry", "client", "words"),
    [
        ("npm", "npm", "npm error code EAI_AGAIN"),
        ("npm", "npm", "npm ERR! network request failed, reason: connect ECONNREFUSED"),
        ("debian", "apt-get", "E: Failed to fetch x  Could not resolve 'mirror'"),
        ("go", "go", "dial tcp: lookup proxy: Temporary failure in name resolution"),
        (
            "cargo",
            "cargo",
            "warning: spurious network error: [6] Could not resolve hostname (Could not resolve host: index)",
        ),
        ("maven", "mvn", "[ERROR] Could not transfer artifact toy from central: Unknown host"),
    ],
)
def test_offline(
    programs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, registry: str, client: str, words: str
) -> None:
    monkeypatch.setattr(debian, "_mirror", lambda: ("file:/nowhere", "/keys"))
    program(programs, client, f'echo "{words}" >&2; exit 1')
    source = {"go": "workers/wazero", "maven": "workers/chicory", "cargo": str(crate(tmp_path))}.get(registry, "")
    releases = {"1.0.0": "sid toy"} if registry == "debian" else {}
    package = Package(registry, "toy", "1.0.0", releases=releases, source=source)
    with pytest.raises(EngineUnavailable, match=r"^toy 1\.0\.0 is not installed and there is no network$"):
        install(package)


def test_no_client(tmp_path: Path, programs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(programs))
    with pytest.raises(EngineUnavailable, match=r"needs the program npm$"):
        install(toy("npm"), "", "amd64")


@needs_dpkg
def test_debian(programs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(debian, "_mirror", lambda: ("file:/nowhere", "/keys"))
    package = deb(tmp_path, ("./usr/bin/toy", b"toy"), ("./usr/lib64/ld-linux-x86-64.so.2", b"loader"))
    program(programs, "apt-cache", "echo 'toy:\n  Candidate: 1:1.2.3-4'")
    archives = "${option#-oDir::Cache::archives=}"
    program(
        programs,
        "apt-get",
        f"""for option; do case $option in -oDir::Cache::archives=*) to={archives};; esac; done
        case " $* " in *" install "*) cp {package} "$to";; esac""",
    )
    row = Package("debian", "toy", "1.2", releases={"1.2": "sid toy", "1.1": "trixie toy"})
    folder = install(row, "", "amd64")
    assert debian.run_unpacked(folder, "amd64", "usr/bin/toy") == [
        f"{folder}/usr/lib64/ld-linux-x86-64.so.2",
        "--library-path",
        ":".join(f"{folder}/{path}" for path in ("usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu", "usr/lib", "lib")),
        f"{folder}/usr/bin/toy",
    ]
    with pytest.raises(EngineUnavailable, match=r"^Debian trixie has toy 1\.2\.3-4 now, not 1\.1$"):
        install(row, "1.1", "amd64")
    with pytest.raises(EngineUnavailable, match="Debian has no toy 3 that"):
        install(row, "3", "amd64")


GO = """case $1 in
    get) case $2 in *@v1.0.*) ;; *) echo "go: $2: unknown revision" >&2; exit 1;; esac;;
    list) echo 'toy v0.9.0 v1.0.0 v1.1.0-rc.1';;
    build) for last; do [ "$previous" = -o ] && printf %s "$GOARCH" > "$last"; previous=$last; done;;
esac"""


def test_go(programs: Path, tmp_path: Path) -> None:
    program(programs, "go", GO)
    row = Package("go", "example.org/toy", "1.0.0", source="workers/wazero")
    native = install(row, "", "amd64")
    assert (native / "worker").read_text() == "amd64"
    assert (install(row, "", "arm64") / "worker").read_text() == "arm64"
    assert install(row, "1.0.1", "amd64") != native
    with pytest.raises(EngineUnavailable, match=r"^there is no example\.org/toy 7\.0\.0 for amd64$") as caught:
        install(row, "7.0.0", "amd64")
    assert caught.value.hint == "near it: 0.9.0, 1.0.0, 1.1.0-rc.1"


def test_what_is_built_from_another_source_is_another_engine(programs: Path, tmp_path: Path) -> None:
    program(programs, "go", GO)
    row = Package("go", "example.org/toy", "1.0.0", source="workers/wazero")
    assert install(row, "", "amd64") != install(replace(row, source="workers/chicory"), "", "amd64")


def test_a_build_that_fails_leaves_nothing(programs: Path, tmp_path: Path) -> None:
    program(programs, "go", "echo 'main.go:1:1: no such thing' >&2; exit 2")
    with pytest.raises(EngineUnavailable, match=r"cannot be built: main\.go:1:1: no such thing"):
        install(Package("go", "toy", "1.0.0", source="workers/wazero"), "", "amd64")
    assert [path.suffix for path in (tmp_path / "cache/engines/go").iterdir()] == [".lock"]


MVN = """for word; do case $word in -DoutputDirectory=*) to=${word#*=};; -Pcompiler) profile=1;; esac; done
version=$(sed -n 's/.*<artifactId>runtime<.artifactId><version>\\(.*\\)<.version>.*/\\1/p' pom.xml)
case $version$profile in
    7*) echo '[ERROR] Could not find artifact toy:runtime:jar:7.0.0'; exit 1;;
    2.0.01) echo '[ERROR] Could not resolve dependencies: toy:compiler:jar:2.0.0 was not found'; exit 1;;
    *) printf %s "$version" > "$to/runtime-$version.jar";;
esac"""


def test_maven(programs: Path, tmp_path: Path) -> None:
    program(programs, "mvn", MVN)
    program(programs, "javac", 'mkdir -p "$2"; for last; do :; done; cp "$last" "$2/"')
    pins = {"runtime-1.0.0.jar": hashlib.sha256(b"1.0.0").hexdigest()}
    row = Package("maven", "org.toy:runtime", "1.0.0", pins, source="workers/chicory")
    folder = install(row)
    assert ":" not in folder.name  # which separates the parts of a class path
    assert os.access(folder / "worker", os.X_OK)
    (compiled,) = (folder / "classes").iterdir()
    assert "@group@" not in compiled.read_text()
    assert (install(row, "2.0.0") / "lib" / "runtime-2.0.0.jar").exists()  # without a compiler
    with pytest.raises(EngineUnavailable, match=r"^there is no org\.toy:runtime 7\.0\.0"):
        install(row, "7.0.0")
    with pytest.raises(EngineUnavailable, match=r"^runtime-1\.0\.0\.jar is not the pinned one"):
        install(replace(row, name="org.other:runtime", sha256={"runtime-1.0.0.jar": "0" * 64}))


def crate(folder: Path) -> Path:
    """The source of a worker in Rust, as far as the registry reads it."""
    source = folder / "worker"
    source.mkdir()
    (source / "Cargo.toml").write_text('[features]\nwasmi = []\n[dependencies]\nwasmi = { version = "=2.0.0" }\n')
    (source / "Cargo.lock").write_text("version = 4\n")
    return source


CARGO = """case $1 in
    metadata)
        grep -q '^wasmi = { version = "=2.0.' Cargo.toml || { echo "$NONE" >&2; exit 101; }
        manifest=$HOME/src/index/wasmi-2.0.0/Cargo.toml
        echo '{"packages": [{"name": "project"}, {"name": "wasmi", "manifest_path": "'"$manifest"'"}]}';;
    build)
        to=$CARGO_TARGET_DIR/release locked=no
        for word; do case $word in
            --target=*) to=$CARGO_TARGET_DIR/${word#*=}/release;;
            --locked) locked=yes;;
        esac; done
        grep -q '^wasmi = { version = "=7' Cargo.toml && { echo "$NONE" >&2; exit 101; }
        mkdir -p "$to"
        { echo "$@"; echo "locked $locked"; env | grep _LINKER; grep '^wasmi = {' Cargo.toml; } > "$to/worker"
        echo compiled >> "$CARGO_TARGET_DIR/crates";;
esac"""
NO_CRATE = """error: failed to select a version for the requirement `wasmi = "=7.0.0"`
candidate versions found which didn't match: 2.0.0, 1.0.9, 1.0.0-rc.1, ...
location searched: the index"""


@pytest.fixture
def cargo(programs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cargo that has two versions of one crate; the folder of its crates."""
    program(programs, "cargo", CARGO)
    monkeypatch.setenv("NONE", NO_CRATE)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "cache" / "index").mkdir(parents=True)
    return tmp_path / "cache" / "index"


def test_cargo(cargo: Path, tmp_path: Path) -> None:
    source = crate(tmp_path)
    row = Package("cargo", "wasmi", "2.0.0", source=str(source))
    folder = install(row, "", "amd64")
    said = (folder / "worker").read_text()
    assert "--features=wasmi,native" in said
    assert "locked yes" in said
    assert (folder / "Cargo.lock").read_bytes() == (source / "Cargo.lock").read_bytes()
    other = (install(row, "2.0.1", "amd64") / "worker").read_text()
    assert "locked no" in other
    assert '\nwasmi = { version = "=2.0.1"' in other
    foreign = (install(row, "", "riscv64") / "worker").read_text()
    assert "--features=wasmi" in foreign
    assert "native" not in foreign
    assert "_RISCV64GC_UNKNOWN_LINUX_GNU_LINKER=riscv64-linux-gnu-gcc" in foreign
    with pytest.raises(EngineUnavailable, match=r"^there is no wasmi 7\.0\.0 for amd64$") as caught:
        install(row, "7.0.0", "amd64")
    assert caught.value.hint == "near it: 1.0.0-rc.1, 1.0.9, 2.0.0"
    builds = tmp_path / "cache/engines/cargo"
    assert (builds / "wasmi-amd64.build/crates").read_text() == "compiled\n" * 2, "what was compiled is kept"
    assert not list(builds.glob("*.part"))


def test_rows_are_what_the_lock_pins() -> None:
    for name, row in load_engines().items():
        source = row.package and source_folder(row.package.source)
        if row.package and row.package.registry == "cargo" and source and (source / "Cargo.lock").exists():
            pinned = f'name = "{row.package.name}"\nversion = "{row.package.version}"\n'
            assert pinned in (source / "Cargo.lock").read_text(), name
            manifest = (source / "Cargo.toml").read_text()
            assert f'\n{row.package.name} = {{ version = "={row.package.version}"' in manifest, name


def test_a_crate_alone(cargo: Path) -> None:
    crate = tarball(cargo / "wasmi-2.0.0.crate", ("wasmi-2.0.0/src/a.c", b"int x;"))
    row = Package("cargo", "wasmi", "2.0.0", {crate.name: hashlib.sha256(crate.read_bytes()).hexdigest()})
    assert (install(row, "", "amd64") / "wasmi-2.0.0/src/a.c").read_bytes() == b"int x;"
    with pytest.raises(EngineUnavailable, match=r"^there is no wasmi 7\.0\.0"):
        install(row, "7.0.0", "amd64")
    with pytest.raises(EngineUnavailable, match="not the pinned"):
        install(replace(row, sha256={crate.name: "0" * 64}), "", "arm64")


@pytest.mark.parametrize(
    ("words", "message", "hint"),
    [
        (
            "error[E0463]: can't find crate for `core`\n  = note: the `x` target may not be installed",
            "wasmi 2.0.0 needs Rust's standard library for riscv64",
            "rustup target add riscv64gc-unknown-linux-gnu",
        ),
        (
            "error: linker `riscv64-linux-gnu-gcc` not found",
            "wasmi 2.0.0 needs a linker for riscv64",
            "apt-get install gcc-riscv64-linux-gnu",
        ),
        ("warning: x\nerror[E0432]: unresolved import", "wasmi 2.0.0 cannot be built: unresolved import", ""),
    ],
)
def test_what_cargo_lacks(
    programs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: str, message: str, hint: str
) -> None:
    monkeypatch.setenv("WORDS", words)
    program(programs, "cargo", 'echo "$WORDS" >&2; exit 101')
    with pytest.raises(EngineUnavailable) as caught:
        install(Package("cargo", "wasmi", "2.0.0", source=str(crate(tmp_path))), "", "riscv64")
    assert (str(caught.value), caught.value.hint) == (message, hint)


def test_versions_that_are_options() -> None:
    for name in REGISTRIES:
        for version in ("-x", "1 2", "../1", "1;x", "", "latest"):
            if version:
                with pytest.raises(EngineUnavailable, match="no version"):
                    install(Package(name, "toy", "1.0"), version)
