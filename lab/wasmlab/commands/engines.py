"""`wasmlab engines`: which engines there are, what they can do here, how to get them."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..opening import engine_errors, target_of

if TYPE_CHECKING:
    from wasmlab_matrices.load import EngineRow


COLUMNS = {"engine": 0, "version": 0, "status": 0, "probe": 80, "lacks of Wasm 3.0": 80, "what it is": 150}
"""What the list says, and from which width of the terminal on."""


KEPT, KNOWN, BROKEN, STALE = "kept", "known", "broken", "stale"
STATES = {(True, False): KEPT, (False, True): KNOWN, (False, False): BROKEN, (True, True): STALE}
"""Of a rule: is it kept, does the engine's row say that it is not?"""

STYLES = {KEPT: "green", KNOWN: "yellow", BROKEN: "bold red", STALE: "bold red"}


@click.group("engines")
def engines() -> None:
    """The engines that wasmlab knows, and any program that speaks its protocol.

    \b
    Example: wasmlab engines list
    """


@engines.command("list")
@click.option("--json", "as_json", is_flag=True, help="One JSON list on stdout.")
def list_(as_json: bool) -> None:
    """Say which engines and variants there are, and whether they can run here.

    \b
    Example: wasmlab engines list
    """
    from wasmlab_matrices.load import load_engines

    with engine_errors():
        rows = [line for name, row in load_engines().items() for line in _lines(name, row)]
    if as_json:
        click.echo(json.dumps(rows, indent=2))
        return
    console = Console()
    console.print(_table(rows, console.width))


def _table(rows: list[dict[str, Any]], width: int) -> Table:
    columns = [name for name, least in COLUMNS.items() if width >= least]
    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    for name in columns:
        table.add_column(name, no_wrap=name in ("engine", "version", "probe"))
    for row in rows:
        found = row["probed"]
        probe = "" if found is None else _probe(set(found["broken"]), set(found["known"]))
        style = "green" if row["status"].startswith("ready") else "" if row["installable"] else "yellow"
        lacks = ", ".join(row["lacks"]) or "nothing"
        texts = (row["engine"], row["version"], (row["status"], style), probe, lacks, row["about"])
        table.add_row(*(Text.assemble(text) for text in texts[: len(columns)]))
    return table


def _probe(broken: set[str], known: set[str]) -> str:
    """What a probe found, in three words; `known` are the rules that the row says are broken."""
    if new := broken - known:
        return f"{len(new)} broken"
    return f"{len(broken)} known to break" if broken else "all rules kept"


def _lines(name: str, row: EngineRow) -> Iterator[dict[str, Any]]:
    from wasmlab_adapters.errors import EngineUnavailable, NotInstalled
    from wasmlab_adapters.install import lacking
    from wasmlab_adapters.probed import remembered
    from wasmlab_adapters.registry import resolve
    from wasmlab_ref.features import FEATURES, WASM_3

    entries = {name: (row.about, row.features_of(None))} | {
        f"{name}/{key}": (variant.about, row.features_of(variant)) for key, variant in row.variants.items()
    }
    for full, (about, features) in entries.items():
        line: dict[str, Any] = {
            "engine": full, "version": row.package.version if row.package else "", "about": about,
            "features": sorted(features), "installable": False, "probed": None,
        }  # fmt: skip
        try:
            target = resolve(full, fetch=False)
        except NotInstalled as error:
            missing = lacking(row.package) if row.package else ""
            status = f"not installed, which needs {missing}" if missing else "installed on first use"
            line |= {"status": status, "hint": error.hint, "installable": not missing}
        except EngineUnavailable as error:
            line |= {"status": str(error), "hint": error.hint}
        else:
            status = f"ready, means {target.resolved}" if row.alias and full == name else "ready"
            line |= {"version": target.version, "status": status, "installable": True}
            if found := remembered(target):
                said = {"rules": found.rules, "broken": found.broken, "known": sorted(target.known_failures)}
                line |= {"features": sorted(found.sound), "probed": said}
        sound = {*line["features"], "annotations"}
        yield line | {"lacks": [feature for feature in FEATURES if feature in WASM_3 - sound]}


@engines.command("install")
@click.argument("names", nargs=-1, required=True)
def install(names: tuple[str, ...]) -> None:
    """Install engines into the cache now, instead of on first use; any released version will do, or how it begins.

    \b
    Example: wasmlab engines install wasmtime wasmtime@12
    """
    with engine_errors():
        for name in names:
            target = target_of(name)
            click.echo(f"{name}: {target.resolved} is ready")


@engines.command("probe")
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
@click.pass_context
def probe(context: click.Context, name: str, as_json: bool) -> None:
    """Hold an engine's worker against the protocol, and find out what it supports.

    Ends with 1 if it breaks a rule of which its row does not say so, with a reason, or keeps one that its row says it
    breaks. What came is kept in the cache: `wasmlab engines list` shows it, and campaigns leave out features that
    failed.

    \b
    Example: wasmlab engines probe ./my-engine
    """
    from wasmlab_adapters.probe import probe as run_probe
    from wasmlab_adapters.probed import Probed, remember
    from wasmlab_adapters.process import printable

    with engine_errors():
        target = target_of(name)
        with target.worker() as worker:
            hello = worker.hello
            checks = run_probe(worker)
    remember(target, Probed.of(hello["features"], checks))
    known = target.known_failures
    states = [STATES[check.passed, check.name in known] for check in checks]
    if as_json:
        found = {
            "engine": name, "hello": hello,
            "checks": [
                {**dataclasses.asdict(check), "state": state, "known": known.get(check.name, "")}
                for check, state in zip(checks, states, strict=True)
            ],
        }  # fmt: skip
        click.echo(json.dumps(found, indent=2))
    else:
        title = f"{hello['engine']} {hello['version']}, {len(hello['features'])} features, {hello['values']} values"
        Console().print(Text(printable(title)))
        table = Table("", "rule", "what came", box=None, header_style="bold")
        for check, state in zip(checks, states, strict=True):
            came = Text(printable(check.detail))
            if why := known.get(check.name):
                came.append(f"{'; ' if check.detail else ''}the row says: {why}", "dim")
            table.add_row(Text(state, STYLES[state]), Text(check.name), came)
        Console().print(table)
    if not {BROKEN, STALE}.isdisjoint(states):
        context.exit(1)
