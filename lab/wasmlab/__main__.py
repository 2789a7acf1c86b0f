"""The command `wasmlab`, also as `python -m wasmlab`: interrupted while still being imported, it ends silently."""

from __future__ import annotations

import signal


def main() -> None:
    """Run the command line and exit; see `cli.main`."""
    interrupted = signal.getsignal(signal.SIGINT)  # ignored, where it was so for whoever started us
    if interrupted is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from . import cli

    signal.signal(signal.SIGINT, interrupted)
    cli.main()


if __name__ == "__main__":
    main()
