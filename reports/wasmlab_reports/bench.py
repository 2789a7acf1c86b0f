"""The page of `wasmlab bench`: bars drawn from the numbers, without anything from elsewhere."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from wasmlab.foreign import plain

from .html import template

COLOURS = ("#2f6f4f", "#b4552d", "#3b5b92", "#8a6d1f", "#7a3f7a", "#3f7f86", "#99384d", "#5c5c5c")


def page(data: Mapping[str, Any]) -> str:
    """The page of what `wasmlab bench --json` says."""
    names = [engine["name"] for engine in data["engines"]]
    groups = [
        _group("Speed on kernels", "times as fast as", data["ratios"], data["kernels"], names, 1e3, "ms"),
        _group("Small modules", "times as fast as", data["module_ratios"], data["modules"], names, 1e6, "µs"),
    ]
    memory = [
        {"kernel": plain(kernel), "cells": [f"{row[n] / 1024:.1f}" if n in row else "–" for n in names]}
        for kernel, row in data["memory"].items()
        if row
    ]
    return template("bench.html").render(
        engines=[
            {"name": plain(engine["name"]), "version": plain(engine["version"]), "colour": COLOURS[i % len(COLOURS)]}
            for i, engine in enumerate(data["engines"])
        ],
        base=plain(data["base"]),
        means=[(plain(name), f"{mean:.2f}") for name, mean in data["geometric_means"].items()],
        groups=[group for group in groups if group["kernels"]],
        memory=memory,
        problems=[plain(problem) for problem in data["problems"]],
        clock="round trip times" if data["clock"] == "wall" else "processor times of the workers",
        rounds=data["rounds"],
        made=time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
    )


def _group(
    title: str,
    what: str,
    ratios: Mapping[str, Mapping[str, float]],
    times: Mapping[str, Mapping[str, Any]],
    names: Sequence[str],
    unit: float,
    unit_name: str,
) -> dict[str, Any]:
    """Bars by kernel and engine, the longest of a kernel as long as there is room."""
    kernels = []
    for kernel, row in times.items():
        longest = max(ratios.get(kernel, {}).values(), default=1.0)
        bars = []
        for number, name in enumerate(names):
            one, ratio = row.get(name, {}), ratios.get(kernel, {}).get(name)
            label = plain(str(one.get("trouble", "–")), 60)
            if "median" in one:
                label = f"{one['median'] * unit:,.2f} {unit_name} ±{one['spread'] * 50:.0f}%"
                label += "" if ratio is None else f", {ratio:.2f}×"
            bars.append(
                {
                    "engine": plain(name),
                    "width": 0 if ratio is None else max(1.0, 100 * ratio / longest),
                    "colour": COLOURS[number % len(COLOURS)],
                    "label": label,
                }
            )
        kernels.append({"name": plain(kernel), "bars": bars})
    return {"title": title, "what": what, "kernels": kernels}
