"""`wasmlab bench`: engines side by side on kernels, small modules and the memory of an instance."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from .. import bench as measure
from ..display import output
from ..errors import UsageError
from ..foreign import plain
from ..opening import ARCHS, names_of, opened
from .options import OutputFile


@click.command("bench")
@click.argument("kernels", nargs=-1)
@click.option("--engines", default="ref,ref/py", show_default=True, help="Engines, separated by commas.")
@click.option("--engine", "more", multiple=True, help="One more engine; may be repeated (for programs with commas).")
@ARCHS
@click.option(
    "--folder",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Where the kernels are: modules that export run: (i32) -> (i64), and expected.json. [wasmlab's own]",
)
@click.option("--rounds", default=5, show_default=True, type=click.IntRange(1, 1000), help="Rounds, interleaved.")
@click.option(
    "--size",
    default="full",
    show_default=True,
    type=click.Choice(["full", "small"]),
    help="Arguments of expected.json.",
)
@click.option("--n", "argument", type=click.IntRange(0, (1 << 31) - 1), help="The argument of run, for all kernels.")
@click.option("--limit", default=20.0, show_default=True, help="Seconds that one call may take.")
@click.option("--wall", is_flag=True, help="Round trip times rather than the worker's processor time.")
@click.option("--only", type=click.Choice(["kernels", "modules", "memory"]), help="One of the three measurements.")
@click.option("--html", type=OutputFile(), help="Write a page with plots.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
def bench(
    kernels: tuple[str, ...],
    engines: str,
    more: tuple[str, ...],
    archs: tuple[str, ...],
    folder: Path | None,
    rounds: int,
    size: str,
    argument: int | None,
    limit: float,
    wall: bool,
    only: str | None,
    html: Path | None,
    as_json: bool,
) -> None:
    """Measure engines on kernels: medians of interleaved rounds, and how many times as fast as the first one each is.

    Kernels called tiny, small and medium measure what a module costs (to take it, instantiate it, call it once and drop
    it) and how much memory an instance takes. Ends with 1 where engines give different results.

    \b
    Example: wasmlab bench fib mix --engines ref,wasmtime/pulley --rounds 5
    """
    found = measure.load_kernels(folder or measure.KERNELS, size, argument, kernels)
    names = names_of(engines, more, archs)
    progress = _Progress()
    with ExitStack() as stack:
        stack.enter_context(progress)
        started = stack.enter_context(opened(names))
        result = _measure(started, found, rounds, wall, limit, only, progress)
    problems = list(measure.disagreements(result["kernels"])) + list(measure.disagreements(result["modules"]))
    data = to_json(names, result, problems, rounds, wall, {engine.name: engine.version for engine in started})
    if html:
        from wasmlab_reports.bench import page

        try:
            html.write_text(page(data), encoding="utf-8")
        except OSError as error:
            raise UsageError(f"{html}: {error.strerror}") from None
    if as_json:
        click.echo(json.dumps(data, indent=1))
    else:
        _print(data)
        if html:
            output().print(Text(plain(f"page: {html}"), style="dim"))
    sys.exit(1 if problems else 0)


class _Progress:
    """A line on a terminal, nothing elsewhere."""

    def __init__(self) -> None:
        self._status = Console(stderr=True).status("starting") if sys.stderr.isatty() else None

    def __enter__(self) -> _Progress:
        if self._status:
            self._status.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        if self._status:
            self._status.stop()

    def __call__(self, what: str) -> None:
        if self._status:
            self._status.update(Text(plain(what)))


def _measure(
    engines: Sequence[Any],
    kernels: Sequence[measure.Kernel],
    rounds: int,
    wall: bool,
    limit: float,
    only: str | None,
    progress: _Progress,
) -> dict[str, Any]:
    modules = [kernel for kernel in kernels if kernel.name in measure.SMALL_MODULES]
    fast = [kernel for kernel in kernels if kernel.name not in measure.SMALL_MODULES]
    return {
        "kernels": measure.kernel_times(engines, fast, rounds, wall, limit, progress)
        if only in (None, "kernels")
        else {},
        "modules": measure.module_times(engines, modules, rounds, wall, progress) if only in (None, "modules") else {},
        "memory": measure.instance_memory(engines, modules, progress) if only in (None, "memory") else {},
    }


def to_json(
    names: Sequence[str],
    result: Mapping[str, Any],
    problems: Sequence[str],
    rounds: int,
    wall: bool,
    versions: Mapping[str, str],
) -> dict[str, Any]:
    """What was measured: times in seconds, memory in bytes, ratios to the first engine."""
    by_kernel = measure.ratios(result["kernels"], names[0])
    by_module = measure.ratios(result["modules"], names[0])
    return {
        "engines": [{"name": name, "version": versions[name]} for name in names],
        "base": names[0],
        "rounds": rounds,
        "clock": "wall" if wall else "processor",
        "kernels": {kernel: {n: t.to_json() for n, t in row.items()} for kernel, row in result["kernels"].items()},
        "ratios": by_kernel,
        "geometric_means": measure.geometric_means(by_kernel),
        "modules": {kernel: {n: t.to_json() for n, t in row.items()} for kernel, row in result["modules"].items()},
        "module_ratios": by_module,
        "memory": result["memory"],
        "problems": list(problems),
    }


def _print(data: Mapping[str, Any]) -> None:
    console, names = output(), [engine["name"] for engine in data["engines"]]
    if data["kernels"]:
        table = _table("kernel, ms", names)
        for kernel, row in data["kernels"].items():
            table.add_row(Text(plain(kernel)), *(_cell(row[n], 1e3, data["ratios"][kernel].get(n)) for n in names))
        if means := data["geometric_means"]:
            cells = (Text(f"{means[n]:.2f}×" if n in means else "–", style="bold") for n in names)
            table.add_row(Text("geometric mean", style="bold"), *cells)
        console.print(table)
    if data["modules"]:
        table = _table("module, µs", names)
        for kernel, row in data["modules"].items():
            table.add_row(
                Text(plain(kernel)), *(_cell(row[n], 1e6, data["module_ratios"][kernel].get(n)) for n in names)
            )
        console.print(table)
    if any(data["memory"].values()):
        table = _table("instance, KiB", names)
        for kernel, numbers in data["memory"].items():
            table.add_row(Text(plain(kernel)), *(f"{numbers[n] / 1024:.1f}" if n in numbers else "–" for n in names))
        console.print(table)
    for problem in data["problems"]:
        console.print(Text(plain(problem, 300), style="bold red"))


def _table(what: str, names: Sequence[str]) -> Table:
    table = Table(what, box=None, header_style="bold", padding=(0, 2, 0, 0))
    for name in names:
        table.add_column(Text(plain(name)), justify="right")
    return table


def _cell(times: Mapping[str, Any], unit: float, ratio: float | None) -> Text:
    """Median, how far rounds lie apart, and the ratio."""
    if "median" not in times:
        return Text(plain(times["trouble"], 30), style="yellow")
    cell = Text(f"{times['median'] * unit:,.2f} ±{times['spread'] * 50:.0f}%")
    return cell.append(f"  {ratio:.2f}×", style="cyan") if ratio is not None else cell
