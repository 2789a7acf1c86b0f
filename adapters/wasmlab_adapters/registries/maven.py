"""Maven: a worker of ours in Java, compiled against the engine's artifacts, by `mvn` and `javac`.

In the worker's sources "@group@" stands for the package's group and "@version@" for its version.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from ..errors import EngineUnavailable
from .order import ClientFailed, Order, digest, no_such_version, source_folder

VERSION = r"[0-9][0-9A-Za-z.+-]*"
PROGRAMS = ("mvn", "javac")
_RANGE = """<project><modelVersion>4.0.0</modelVersion>
<groupId>wasmlab</groupId><artifactId>releases</artifactId><version>1</version>
<dependencies><dependency>
<groupId>{group}</groupId><artifactId>{artifact}</artifactId><version>[0,)</version><type>pom</type>
</dependency></dependencies></project>
"""


def fill(order: Order) -> None:
    """Fetch what the worker's pom.xml names, and compile; the content is `worker`, `classes` and `lib`."""
    source = order.part / "source"
    shutil.rmtree(source, ignore_errors=True)
    shutil.copytree(source_folder(order.package.source), source)
    try:
        for path in source.iterdir():
            _fill_in(path, order)
        library = order.content / "lib"
        library.mkdir(mode=0o700, parents=True)
        _copy(order, source, library)
        _check(order, library)
        classes = ["-d", str(order.content / "classes"), "-cp", f"{library}/*"]
        order.run(["javac", *classes, *map(str, sorted(source.glob("*.java")))])
        shutil.copy(source / "worker", order.content)
    except ClientFailed as failed:
        if "Could not find artifact" in failed.words or "was not found" in failed.words:
            raise no_such_version(order, releases(order)) from None
        raise EngineUnavailable(f"{order.what} cannot be built: {failed.reason}") from None
    finally:
        shutil.rmtree(source, ignore_errors=True)


def releases(order: Order) -> list[str]:
    """The versions, as far as the registry tells them: to resolve a range, Maven fetches their list."""
    group, _, artifact = order.name.partition(":")
    project = order.part / "releases"
    project.mkdir(mode=0o700, exist_ok=True)
    (project / "pom.xml").write_text(_RANGE.format(group=group, artifact=artifact))
    try:
        said = order.run(["mvn", "--batch-mode", "-X", "-U", "-Dstyle.color=never", "dependency:list"], folder=project)
    except ClientFailed as failed:
        said = failed.words
    finally:
        shutil.rmtree(project, ignore_errors=True)
    repository = re.search(r"Using local repository at (.+)", said)
    folder = Path(repository[1].strip(), *group.split("."), artifact) if repository else project
    lists = [path.read_text() for path in folder.glob("maven-metadata-*.xml")]
    return list(dict.fromkeys(re.findall(r"<version>([^<]+)</version>", "".join(lists))))


def _copy(order: Order, source: Path, library: Path) -> None:
    """With the engine's compiler, where there is one of that version."""
    copy = ["mvn", "--batch-mode", "--quiet", "-Dstyle.color=never"]
    copy += ["dependency:copy-dependencies", f"-DoutputDirectory={library}"]
    try:
        order.run([*copy, "-Pcompiler"], folder=source)
    except ClientFailed as failed:
        if ":compiler:" not in failed.words:
            raise
        order.run(copy, folder=source)


def _fill_in(path: Path, order: Order) -> None:
    if path.suffix in (".java", ".xml"):
        group = order.name.partition(":")[0]
        text = path.read_text(encoding="utf-8")
        path.write_text(re.sub("@group@", group, text).replace("@version@", order.version), encoding="utf-8")


def _check(order: Order, library: Path) -> None:
    """Hold what was fetched against the pins of the row's version."""
    found = {path.name: digest(path) for path in sorted(library.iterdir())}
    for name, wanted in order.pins.items():
        if found.get(name) != wanted:
            shutil.rmtree(order.content, ignore_errors=True)
            raise EngineUnavailable(f"{name} is not the pinned one: SHA-256 {found.get(name, 'of nothing')[:16]}…")
    (order.content / "wasmlab-sources.txt").write_text("".join(f"{value}  {name}\n" for name, value in found.items()))
