"""The report for machines: JSON, JUnit for the test view of a CI, SARIF for its view of code scanning."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from typing import Any

from wasmlab.findings import regression_test
from wasmlab.foreign import plain
from wasmlab.model import Run

from .divergences import Finding, finding
from .markdown import plain_lines
from .merge import merged, summed, totals

SARIF_SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"


def _findings(runs: Sequence[Run]) -> list[Finding]:
    return [finding(run, divergence) for run, divergence in merged(runs)]


def as_json(runs: Sequence[Run]) -> str:
    """Everything that a page says, as one object."""
    sums = totals(runs)
    found = {
        "cases": sums.cases,
        "seconds": round(sums.seconds, 3),
        "complete": round(sums.complete, 4),
        "inconclusive": dict(summed(run.inconclusive for run in runs)),
        "rules": sorted(summed(run.rules for run in runs)),
        "instructions": sorted(summed(run.instructions for run in runs)),
        "campaigns": [
            {
                "folder": run.folder,
                "engines": [engine.to_json() for engine in run.campaign.engines],
                "seed": run.campaign.seed,
                "generator": run.campaign.generator,
                "features": list(run.campaign.features),
                "cases": run.cases,
                "done": run.progress.ranges,
                "choices": {name: dict(choices) for name, choices in run.choices.items()},
                "sessions": [
                    {"started": s.started, "seconds": s.seconds, "machine": dict(s.machine)} for s in run.sessions
                ],
            }
            for run in runs
        ],
        "divergences": [_divergence(f) for f in _findings(runs)],
    }
    return json.dumps(found, indent=1) + "\n"


def _divergence(f: Finding) -> dict[str, Any]:
    return {
        "id": f.found.id,
        "signature": f.found.signature,
        "sentence": f.found.sentence,
        "known": f.found.known,
        "engines": [list(group) for group in f.found.groups],
        "stage": f.found.stage,
        "step": f.found.step,
        "count": f.found.count,
        "confirmed": list(f.found.confirmed),
        "trace": [list(row) for row in f.found.trace],
        "size": f.after.instructions,
        "size_before": f.before.instructions,
        "rules": [{"title": rule.title, "name": rule.name, "link": rule.link} for rule in f.rules],
        "outcomes": {name: [str(o) for o in outcomes] for name, (outcomes, _) in f.found.answers.items()},
        "case": f.found.reduced.to_json(),
        "wast": regression_test(f.run, f.found),
        "reproduce": f.command,
    }


def as_junit(runs: Sequence[Run]) -> str:
    """A test for each signature - failed where it is new, skipped where it is known - and one for all that agreed."""
    found, sums = _findings(runs), totals(runs)
    new = [f for f in found if not f.found.known]
    counts = {
        "tests": str(len(found) + 1), "failures": str(len(new)), "errors": "0", "skipped": str(len(found) - len(new)),
        "time": f"{sums.seconds:.3f}",
    }  # fmt: skip
    root = ET.Element("testsuites", counts)
    suite = ET.SubElement(root, "testsuite", {"name": "wasmlab fuzz", **counts})
    ET.SubElement(suite, "testcase", classname="wasmlab", name=f"{sums.cases} cases", time=counts["time"])
    for f in found:
        test = ET.SubElement(
            suite, "testcase", classname="wasmlab", name=f"{f.found.id} {plain(f.title, 120)}", time="0"
        )
        if f.found.known:
            ET.SubElement(test, "skipped", message=plain(f.found.known))
        else:
            failure = ET.SubElement(test, "failure", message=plain(f.found.sentence), type="divergence")
            failure.text = plain_lines(f"{f.command}\n\n{regression_test(f.run, f.found)}")
    ET.indent(root)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def as_sarif(runs: Sequence[Run]) -> str:
    """SARIF 2.1.0: a rule of the standard for each first instruction, a result for each signature."""
    found = _findings(runs)
    rules: dict[str, dict[str, Any]] = {}
    results = []
    for f in found:
        rule = f.rules[0] if f.rules else None
        id_ = (rule.name or rule.title) if rule else "divergence"
        row: dict[str, Any] = {"id": id_, "shortDescription": {"text": f"WebAssembly: {rule.title if rule else id_}"}}
        if rule:
            row["helpUri"] = rule.link
        rules.setdefault(id_, row)
        results.append(
            {
                "ruleId": id_,
                "ruleIndex": list(rules).index(id_),
                "level": "note" if f.found.known else "error",
                "message": {"text": plain(f.found.sentence, 1000)},
                "partialFingerprints": {"wasmlabSignature/v1": f.found.id},
                "locations": [
                    {
                        "physicalLocation": {
                            "artifactLocation": {"uri": f"findings/{f.found.id}/reduced.wast"},
                            "region": {"startLine": 1},
                        }
                    }
                ],
                "occurrenceCount": f.found.count,
                **(
                    {"suppressions": [{"kind": "external", "justification": plain(f.found.known)}]}
                    if f.found.known
                    else {}
                ),
            }
        )
    driver = {"name": "wasmlab", "rules": list(rules.values())}
    log = {"$schema": SARIF_SCHEMA, "version": "2.1.0", "runs": [{"tool": {"driver": driver}, "results": results}]}
    return json.dumps(log, indent=1) + "\n"
