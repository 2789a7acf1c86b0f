"""Images for workers, a stack of three for each architecture, each made once for what goes into it.

    wasmlab-base    Python: the official image, or where no registry can be reached a root that mmdebstrap unpacks
    wasmlab-lab     on that, the lab's own engines and workers (dockerfiles/Dockerfile)
    wasmlab-engine  on that, one version of one engine as `install` left it in the cache (dockerfiles/Dockerfile.engine)

The tag carries a digest of everything that went in: an image that is there is the right one.  Nothing is compiled for
another architecture by emulation: the C engine is cross-compiled, engines come as packages.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import docker.errors  # type: ignore[import-untyped]

import wasmlab_ref
from wasmlab_matrices.architectures import load_architectures
from wasmlab_ref.fast import build

from . import compilers
from .command import IN_AN_IMAGE
from .containers import ERRORS, client, unavailable
from .emulation import emulated, ready, usual_cpu
from .errors import EngineUnavailable, NotInstalled
from .install import cache_folder, private_folder
from .process import printable
from .registries.order import FULL, locked, no_room, unusable

OFFICIAL = "python:3.13-slim-trixie"
SUITE = "trixie"
PACKAGES = (
    "base-files", "base-passwd", "dash", "coreutils", "libc-bin", "libstdc++6", "libatomic1", "python3",
)  # fmt: skip
"""What the base of our own holds, with what these depend on."""
HERE = Path(__file__).resolve().parent
FOLDER = HERE / "dockerfiles"
LABEL = "wasmlab.image"
BUILD_SECONDS = 1200
_LEFT_OUT = {".c", ".h", ".pyc"}


@dataclass(frozen=True, slots=True)
class Image:
    """An image of ours that the daemon has; `what` is "base", "lab", or an engine with its version."""

    tag: str
    arch: str
    what: str
    size: int
    steps: dict[str, int]
    """What it was made of: the identity of each step, with the bytes that it added."""
    current: bool
    """False where it was made from what is not the case any more."""


class Installed(NamedTuple):
    """An engine's package on this machine: name and version, its folder, and what of it has to lie as in Debian."""

    name: str
    folder: Path
    fixed: tuple[str, ...] = ()


def ensure(arch: str, package: Installed | None = None, make: bool = True) -> str:
    """The tag of the image of an architecture, with an engine's package in it.

    Made now if need be, unless `make` is off: then NotInstalled.  EngineUnavailable where that is impossible, or where
    what has that tag is something else.
    """
    ready(arch)
    if found := _finished(arch, package):  # whoever makes another one has the lock for minutes
        return found
    with _locked(arch):
        base = _base(arch) or _made(arch, "base", make, lambda: _make_base(arch))
        lab = _lab_tag(arch, base)
        if not _there(lab, arch):
            _made(arch, lab, make, lambda: _build_lab(arch, base, lab))
        if package is None:
            return lab
        tag = _engine_tag(package.name, lab)
        if not _there(tag, arch):
            _made(arch, tag, make, lambda: _build_engine(arch, lab, tag, package))
        return tag


def _finished(arch: str, package: Installed | None) -> str:
    """The tag of the image that `ensure` is asked for, where it is there; else ""."""
    if not (base := _base(arch)):
        return ""
    lab = _lab_tag(arch, base)
    tag = _engine_tag(package.name, lab) if package else lab
    return tag if _there(tag, arch) else ""


def c_compiler(arch: str) -> str:
    """The compiler for an architecture; EngineUnavailable says how to get it."""
    native = not emulated(arch)
    if found := compilers.c_compiler(arch, native):
        return found
    hint = f"sudo apt-get install {compilers.compiler_packages(arch, native)}; or use ref/py:{arch}"
    raise EngineUnavailable(f"the C path of ref needs a C compiler for {arch}", hint)


def c_engine(arch: str) -> Path:
    """The C engine for an architecture, cross-compiled if need be; EngineUnavailable where no compiler is there."""
    try:
        return build.library(compiler=(c_compiler(arch),))
    except build.Unavailable as error:
        raise EngineUnavailable(f"ref for {arch}: {error.reason}", error.remedy) from None


def images(archs: Iterable[str] = ()) -> list[Image]:
    """Our images that the daemon has, of these architectures or of all; EngineUnavailable: no daemon."""
    wanted, found = set(archs), []
    try:
        known = {image["Id"]: image for image in client().api.images(all=True)}
    except ERRORS as error:
        raise unavailable(error) from None
    for image in known.values():
        arch, _, what = (image["Labels"] or {}).get(LABEL, "").partition("/")
        if not what or (wanted and arch not in wanted):
            continue
        for tag in image["RepoTags"] or ():
            if tag != "<none>:<none>":  # which a step on the way to an image has
                steps = dict(_steps(image["Id"], known))
                found.append(Image(tag, arch, what, image["Size"], steps, tag in _current(arch, what)))
    return sorted(found, key=lambda image: (image.arch, image.tag))


def _steps(id_: str, known: dict[str, Any]) -> Iterator[tuple[str, int]]:
    while image := known.get(id_):
        below = image["ParentId"]
        yield id_, image["Size"] - known.get(below, {"Size": 0})["Size"]
        id_ = below


def space(found: Iterable[Image]) -> int:
    """The bytes that these images take: what they share counts once."""
    return sum({step: size for image in found for step, size in image.steps.items()}.values())


def told(found: list[Image]) -> tuple[str, int]:
    """How many images these are, and what they take, in words; what would be free if those outdated were removed."""
    current = [image for image in found if image.current]
    total, outdated = space(found), space(found) - space(current)
    said = f"{len(found)} images, {total / 1e9:.1f} GB"
    return f"{said}; outdated {len(found) - len(current)}, {outdated / 1e9:.1f} GB" if outdated else said, outdated


def remove(tag: str) -> bool:
    """Remove an image; False where it is in use, and stays.  EngineUnavailable: no daemon."""
    try:
        client().api.remove_image(tag)
    except docker.errors.ImageNotFound:
        pass
    except ERRORS as error:
        if getattr(error, "status_code", 0) == 409:
            return False
        raise unavailable(error) from None
    return True


# Tags


def _digest(*parts: str | bytes) -> str:
    total = hashlib.sha256()
    for part in parts:
        total.update(hashlib.sha256(part.encode() if isinstance(part, str) else part).digest())
    return total.hexdigest()[:16]


def _base_tags(arch: str) -> tuple[str, str]:
    """The tags of the official base, and of our own."""
    hook = (FOLDER / "finish-root.sh").read_bytes()
    return (
        f"wasmlab-base:{arch}-{_digest(OFFICIAL)}",
        f"wasmlab-base:{arch}-{_digest(SUITE, ' '.join(PACKAGES), hook)}",
    )


def _base(arch: str) -> str:
    """The tag of the base that is there; else ""."""
    return next((tag for tag in _base_tags(arch) if _there(tag, arch)), "")


def _lab_tag(arch: str, base: str) -> str:
    digest = _digest(base, (FOLDER / "Dockerfile").read_bytes(), _context(arch))
    return f"wasmlab-lab:{arch}-{digest}"


def _engine_tag(name: str, lab: str) -> str:
    arch = lab.partition(":")[2].partition("-")[0]
    digest = _digest(name, lab, (FOLDER / "Dockerfile.engine").read_bytes())
    return f"wasmlab-engine:{arch}-{re.sub(r'[^a-z0-9_.]+', '_', name.lower())}-{digest}"


def _current(arch: str, what: str) -> set[str]:
    """The tags that such an image has if it was made from what is here now."""
    bases = _base_tags(arch)
    if what == "base":
        return set(bases)
    labs = {_lab_tag(arch, base) for base in bases}
    return labs if what == "lab" else {_engine_tag(what, lab) for lab in labs}


# Making


def _made(arch: str, what: str, make: bool, maker: Callable[[], str]) -> str:
    """What `maker` made, which is there now."""
    if not make:
        raise NotInstalled(f"the image {what} for {arch} is not there", f"wasmlab images build --archs {arch}")
    print(f"wasmlab: making the image {what} for {arch} (once)", file=sys.stderr, flush=True)
    if not _there(tag := maker(), arch):
        raise EngineUnavailable(f"the image {tag} was made, and is not there", "docker image ls")
    return tag


@functools.cache
def _seen(tag: str, arch: str, pid: int) -> str:
    found = str(client().api.inspect_image(tag)["Architecture"])
    if found != arch:
        raise EngineUnavailable(f"the image {tag} is for {found}, not for {arch}", f"docker image rm {tag}")
    return found


def _there(tag: str, arch: str) -> bool:
    try:
        return bool(_seen(tag, arch, os.getpid()))
    except docker.errors.ImageNotFound:
        return False
    except ERRORS as error:
        raise unavailable(error) from None


def _make_base(arch: str) -> str:
    official, own = _base_tags(arch)
    if _pull(arch, official):
        return official
    _bootstrap(arch, own)
    return own


def _pull(arch: str, tag: str) -> bool:
    """Get the official image, where a registry can be reached."""
    try:
        found = client(BUILD_SECONDS).images.pull(OFFICIAL, platform=load_architectures()[arch].platform)
        context = _tar({"Dockerfile": (b"ARG BASE\nFROM ${BASE}\n", 0o644)})
        _build(arch, tag, "base", context, {"BASE": found.id})
    except docker.errors.APIError:
        return False
    except ERRORS as error:
        raise unavailable(error) from None
    return True


def _bootstrap(arch: str, tag: str) -> None:
    """Make the base from Debian's packages, unpacked and not configured: so none of them is run."""
    program = shutil.which("mmdebstrap")
    if program is None:
        raise EngineUnavailable(
            f"no registry has {OFFICIAL}, and there is no mmdebstrap to make a base for {arch} with",
            "sudo apt-get install mmdebstrap debian-archive-keyring",
        )
    folder = cache_folder() / "images"
    private_folder(folder)
    with tempfile.TemporaryDirectory(prefix="base-", dir=folder) as part:
        root = Path(part, "layer.tar")
        command = [
            program,
            "--quiet",
            "--variant=extract",
            f"--architectures={arch}",
            f"--include={','.join(PACKAGES)}",
        ]
        command += [f"--extract-hook={FOLDER / 'finish-root.sh'}", SUITE, str(root)]
        if mirror := _mirror():
            command.append(f"deb {mirror} {SUITE} main")
        status, errors = _apart(command)
        if status:
            if FULL.search(errors) or shutil.disk_usage(part).free < 1 << 20:  # which it does not always say
                raise no_room(folder)
            lines = [line for line in errors.splitlines() if line.strip()]
            said = next((line for line in lines if line.startswith("E:")), lines[-1] if lines else "no word")
            raise EngineUnavailable(f"mmdebstrap cannot make a base for {arch}: {said[:300]}", "wasmlab doctor")
        archive = Path(part, "image.tar")
        try:
            _archive(arch, tag, root, archive)
        except OSError as error:
            raise unusable(folder, error) from None
        try:
            with archive.open("rb") as file:
                client(BUILD_SECONDS).images.load(file)
        except ERRORS as error:
            raise unavailable(error) from None


def _apart(command: list[str]) -> tuple[int, str]:
    """Run mmdebstrap; its exit status, and what it said of errors.

    In a session of its own: where it fails it sends SIGHUP to its whole process group, which would be the lab, too.
    """
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=pipe, start_new_session=True
    ) as process:
        try:
            errors = process.communicate(timeout=BUILD_SECONDS)[1]
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            return 1, f"E: it did not end within {BUILD_SECONDS} s"
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            raise
    return process.returncode, printable(errors)


def _mirror() -> str:
    """Debian's mirror as this machine has it configured; "" where it has none."""
    for path in (Path("/etc/apt/sources.list"), *sorted(Path("/etc/apt/sources.list.d").glob("*.*"))):
        with contextlib.suppress(OSError):
            if found := re.search(r"^(?:URIs:|deb\s)[^#\n]*?(\S+/debian)/?(?=\s|$)", path.read_text(), re.MULTILINE):
                return found[1]
    return ""


def _archive(arch: str, tag: str, root: Path, archive: Path) -> None:
    """A root as an archive that `docker load` takes: with the right architecture, which `docker import` ignores."""
    with root.open("rb") as file:
        layer = hashlib.file_digest(file, "sha256").hexdigest()
    described = {
        "architecture": arch,
        "os": "linux",
        "config": {
            "Env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"],
            "Cmd": ["/bin/sh"],
            "Labels": {LABEL: f"{arch}/base"},
        },
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{layer}"]},
        "history": [{"created_by": "wasmlab images build"}],
    } | ({"variant": "v8"} if arch == "arm64" else {})
    config = json.dumps(described).encode()
    name = f"{hashlib.sha256(config).hexdigest()}.json"
    manifest = json.dumps([{"Config": name, "RepoTags": [tag], "Layers": ["layer.tar"]}]).encode()
    with tarfile.open(archive, "w") as tar:
        for path, data in (("manifest.json", manifest), (name, config)):
            entry = tarfile.TarInfo(path)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
        tar.add(root, "layer.tar")


def _build_lab(arch: str, base: str, tag: str) -> str:
    model = {"QEMU_CPU": usual_cpu(arch)} if emulated(arch) else {}
    _build(arch, tag, "lab", _context(arch), {"BASE": base, **model})
    return tag


def _build_engine(arch: str, lab: str, tag: str, package: Installed) -> str:
    with tempfile.TemporaryFile() as file:
        with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as tar:
            _put(tar, "Dockerfile", (FOLDER / "Dockerfile.engine").read_bytes(), 0o644)
            tar.add(package.folder, "engine", filter=_readable)
            root = tarfile.TarInfo("root")
            root.type, root.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(root)
            for path in package.fixed:
                link = tarfile.TarInfo(f"root/{path}")
                link.type, link.linkname = tarfile.SYMTYPE, f"{IN_AN_IMAGE.package}/{path}"
                tar.addfile(link)
        file.seek(0)
        _build(arch, tag, package.name, file, {"BASE": lab})
    return tag


def _build(arch: str, tag: str, what: str, context: Any, arguments: dict[str, str]) -> None:
    """Let the daemon build `context`; EngineUnavailable says what it stumbled over."""
    file = io.BytesIO(context) if isinstance(context, bytes) else context
    said = ""
    try:
        events = client(BUILD_SECONDS).api.build(
            fileobj=file,
            custom_context=True,
            tag=tag,
            platform=load_architectures()[arch].platform,
            buildargs=arguments,
            labels={LABEL: f"{arch}/{what}"},
            network_mode="none",
            rm=True,
            forcerm=True,
            decode=True,
        )
        for event in events:
            said = str(event.get("error", said))
    except ERRORS as error:
        raise unavailable(error) from None
    if said:
        raise EngineUnavailable(f"the image for {arch} cannot be built: {printable(said)[:300]}", "wasmlab doctor")


# What goes in


@functools.cache
def _context(arch: str) -> bytes:
    """The build context of the lab's image: the same bytes for the same files."""
    files: dict[str, tuple[bytes, int]] = {"Dockerfile": ((FOLDER / "Dockerfile").read_bytes(), 0o644)}
    files["wasmlab/warm.py"] = ((FOLDER / "warm.py").read_bytes(), 0o644)
    for folder in (Path(next(iter(wasmlab_ref.__path__))), HERE / "workers"):
        root = folder.parent if folder.name == wasmlab_ref.__name__ else HERE.parent
        for path in folder.rglob("*"):
            if path.is_file() and path.suffix not in _LEFT_OUT:
                files[f"wasmlab/{path.relative_to(root)}"] = (path.read_bytes(), 0o644)
    with contextlib.suppress(EngineUnavailable):  # whoever asks for it hears of it
        library, place = (
            c_engine(arch),
            f"wasmlab/{build.BUILT.relative_to(build.FOLDER.parent.parent).with_suffix('')}",
        )
        for ending in (".so", "-events.so"):
            files[place + ending] = (library.with_name(library.stem + ending).read_bytes(), 0o755)
    return _tar(files)


def _tar(files: dict[str, tuple[bytes, int]]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name in sorted(files):
            _put(tar, name, *files[name])
    return out.getvalue()


def _put(tar: tarfile.TarFile, name: str, data: bytes, mode: int) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(data), mode
    tar.addfile(entry, io.BytesIO(data))


def _readable(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    """An entry of a private folder as everybody in the container may read it."""
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    entry.mode = 0o755 if entry.isdir() or entry.mode & 0o100 else 0o644
    return entry


@contextlib.contextmanager
def _locked(arch: str) -> Iterator[None]:
    """One process makes the images of an architecture, the others wait."""
    folder = cache_folder() / "images"
    private_folder(folder)
    with locked(folder / f"{arch}.lock"):
        yield
