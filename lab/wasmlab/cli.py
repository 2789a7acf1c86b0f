"""The command line: `wasmlab VERB …`.  Commands are imported when they are called, so that `--help` is quick."""

from __future__ import annotations

import errno
import importlib
import sys
from typing import Any

import click

from . import __version__
from .errors import LabError
from .foreign import plain

COMMANDS = {
    "fuzz": "Find divergences between engines.",
    "conform": "Run an official suite on engines.",
    "diff": "Run one file on every engine, side by side.",
    "reduce": "Shrink a case that shows a divergence.",
    "trace": "Find the first instruction where engines differ.",
    "bisect": "Find the first release that shows a divergence.",
    "run": "Call a function on one engine.",
    "matrix": "Run a matrix of engines, suites and campaigns.",
    "known": "Do the bugs that are known still show?",
    "report": "Make a report of one or many campaigns.",
    "engines": "Engines: what is there, and how to get it.",
    "bench": "Measure engines on kernels, side by side.",
    "build": "Build the C engine ahead of its first use, for other machines too.",
    "images": "What containers of other architectures are made of.",
    "suite": "The official suites: fetch, check.",
    "doctor": "What works here, and what does not.",
}
"""Verb -> its line in the help; the module of the same name in `commands` has it as a click command."""


class Lazy(click.Group):
    """A group whose commands are imported when they are needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f".commands.{cmd_name}", __package__)
        command: click.Command = getattr(module, cmd_name)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            import difflib

            near = difflib.get_close_matches(args[0], COMMANDS, 1)
            hint = f" Did you mean {near[0]}?" if near else ""
            raise click.UsageError(f"No command {plain(args[0], 40)!r}.{hint}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=Lazy, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="wasmlab")
def group() -> None:
    """Differential testing and conformance of WebAssembly engines.

    \b
    Example: wasmlab fuzz --engines ref,wasmtime --time 1m
    """


def main(args: list[str] | None = None) -> None:
    """Run the command line and exit: 0 nothing unexpected, 1 a finding, 2 wrong usage, 3 something is missing, 130."""
    sys.exit(run(args))


def run(args: list[str] | None = None) -> int:
    """Run the command line; the exit status.  Errors are one clear line on stderr, and a hint."""
    try:
        # Not group.main(): it ends with 1, which is a finding here, where the reader of standard output has gone.
        with group.make_context("wasmlab", sys.argv[1:] if args is None else list(args)) as context:
            found = group.invoke(context)
        return found if isinstance(found, int) else 0
    except SystemExit as error:
        if isinstance(error.__context__, BrokenPipeError):  # rich ends so
            _silence_stdout()
            return 0
        return error.code if isinstance(error.code, int) else 2 if error.code else 0
    except click.exceptions.Exit as error:
        return error.exit_code
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return 2
    except click.UsageError as error:
        path = error.ctx.command_path if error.ctx else "wasmlab"
        return _fail(error.format_message(), f"{path} --help")
    except click.ClickException as error:
        return _fail(error.format_message())
    except (KeyboardInterrupt, click.Abort):
        return _fail("interrupted", status=130)
    except BrokenPipeError:
        _silence_stdout()
        return 0
    except LabError as error:
        return _fail(str(error), error.hint, error.status)
    except Exception as error:
        if (known := _known(error)) is not None:
            return known
        raise


def _known(error: Exception) -> int | None:
    """The exit status of an error that has a clear line, which is printed; None for a bug of ours."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
        return _fail(f"{error.strerror}{f': {error.filename}' if error.filename else ''}", status=3)
    if isinstance(error, OSError) and error.filename:
        return _fail(f"{error.filename}: {error.strerror}")
    adapters: Any = sys.modules.get("wasmlab_adapters.errors")
    if adapters and isinstance(error, adapters.EngineUnavailable):
        return _fail(str(error), getattr(error, "hint", ""), 3)
    if adapters and isinstance(error, adapters.EngineNameError):
        return _fail(str(error))
    if type(error).__name__ == "SchemaError":
        return _fail(str(error))
    return None


def _fail(message: str, hint: str = "", status: int = 2) -> int:
    lines = message.split("\n")
    click.echo("\n".join([f"wasmlab: {plain(lines[0])}", *(plain(line) for line in lines[1:])]), err=True)
    if hint:
        click.echo(f"         {plain(hint)}", err=True)
    return status


def _silence_stdout() -> None:
    """After a reader has gone, keep Python from complaining about it at exit."""
    import os

    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


if __name__ == "__main__":
    main()
