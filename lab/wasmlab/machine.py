"""Where a campaign runs: what a reader needs to know to see the same."""

from __future__ import annotations

import os
import platform
from pathlib import Path

from . import __version__


def machine() -> dict[str, str]:
    """Processor, operating system, Python and wasmlab, in words; only what can be found out."""
    found = {
        "wasmlab": __version__,
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "system": _system(),
        "kernel": f"{platform.system()} {platform.release()}",
        "processor": _processor(),
        "architecture": platform.machine(),
        "cores": str(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or ""),
    }
    return {key: text for key, text in found.items() if text}


def _system() -> str:
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except (OSError, KeyError):
        return f"{platform.system()} {platform.mac_ver()[0]}".strip()


def _processor() -> str:
    """The processor's model, as Linux has it on x86; elsewhere what the platform says."""
    try:
        lines = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
    except OSError:
        lines = []
    names = ("model name", "uarch", "Processor", "cpu model")
    found = {key.strip(): text.strip() for key, _, text in (line.partition(":") for line in lines)}
    return next((found[name] for name in names if found.get(name)), platform.processor())
