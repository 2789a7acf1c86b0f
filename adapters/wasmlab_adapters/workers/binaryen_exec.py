"""Binaryen's interpreter as an engine: each request becomes a script for its `wasm-shell`.

    python -m wasmlab_adapters.workers.binaryen_exec -- PACKAGE VERSION NODE…

The shell runs a script from its beginning to the first command that fails.  So where a module did not instantiate the
script is run again, with that expected.  A session is what it did so far, run again for every batch of its requests.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import sys
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from wasmlab_ref.case import value
from wasmlab_ref.features import FEATURES
from wasmlab_ref.limits import Limits
from wasmlab_ref.profile import Profile

from .binaryen import SCRIPT
from .binaryen_script import Builder, Refused, Session, T, mark
from .node import Ended, Node
from .ref_py import Outcome, Worker, observed

PATIENCE = 2.0
"""Seconds that a batch may take before its requests are run one by one."""
PAUSE = 0.003
"""Seconds without another request that end a batch."""


PRINTED = re.compile(r"^(?:i32x4 (.*) : v128|\[(trap|host limit) ([^\]]*)\])$", re.MULTILINE)
UNLINKABLE = re.compile(r"Import module .* doesn't exist|Export .* doesn't exist|Exported kind|Imported ")
NOT_INSTANTIATED = "failed to instantiate module"


@dataclass(slots=True)
class Told:
    """What was printed during a step."""

    logs: list[str] = field(default_factory=list)
    host: Outcome | None = None
    """How the host ended it."""
    stopped: Outcome | None = None
    threw: int | None = None
    size: int = 0
    content: list[tuple[int, bytes]] = field(default_factory=list)
    """What lies at which addresses; zeros may be left out."""

    def hear(self, what: int, first: int, second: int, third: int) -> None:
        """A vector that was printed, by its lanes."""
        match what:
            case T.LOG:
                self.logs.append(f"{first:x},{second | third << 32:x}")
            case T.TRAP:
                self.host = {"kind": "trapped", "detail": "host"}
            case T.DEEP:
                self.host = {"kind": "exhausted", "detail": "call stack"}
            case T.CALLED:
                self.threw = first
            case T.SIZE:
                self.size = second | third << 32
            case T.WORD:
                self.content.append((first, (second | third << 32).to_bytes(8, "little")))
            case T.BYTE:
                self.content.append((first, bytes([second])))

    def stop(self, what: str, words: str) -> None:
        """A trap or a limit that was printed."""
        if what == "host limit":
            self.stopped = {"kind": "exhausted", "detail": words}
        elif UNLINKABLE.match(words):
            self.stopped = {"kind": "unlinkable", "detail": words.strip()}
        else:
            self.stopped = self.host or {"kind": "trapped", "detail": words}

    def outcome(self, step: dict[str, Any]) -> Outcome:
        """Of a step that the script came past."""
        if step["do"] == "call":
            if self.threw is None:
                return self.stopped or {"kind": "unsupported", "detail": "nothing is told of the call"}
            return {"kind": "threw"} if self.threw else {"kind": "returned"}
        if step["do"] != "read":
            return {"kind": "returned"}
        if self.stopped:
            return {"kind": "unsupported", "detail": self.stopped["detail"]}
        start, size = (step["at"], step["bytes"]) if "bytes" in step else (0, self.size)
        data = bytearray(size)
        for at, content in self.content:
            data[at - start : at - start + len(content)] = content
        if "bytes" in step:
            return {"kind": "returned", "values": [f"bytes:{data.hex()}"]}
        return {"kind": "returned", "values": [value("i64", size), observed(data, step["full"])]}


class Confused(Exception):
    """What the shell printed is not understood."""


class Shell:
    """`wasm-shell`, a script at a time."""

    def __init__(self, node: list[str], package: str) -> None:
        self._file = os.memfd_create("script")
        self._command = [*node, *SCRIPT, "program", f"{package}/bin/wasm-shell", f"/proc/self/fd/{self._file}"]
        self._node: Node | None = None

    def run(self, session: Session, steps: list[dict[str, Any]], seconds: float | None = None) -> Run:
        """What came of some steps in a session.

        Ended where the shell ended in their midst, TimeoutError where it took longer than `seconds`.
        """
        known: dict[int, Outcome] = {}
        while True:
            run = Run(session, steps, known)
            commands = [*session.before(steps), *run.commands, mark(len(steps))]
            stopped = run.read(*self._printed(commands, seconds))
            if stopped is None:
                return run
            known[stopped] = run.outcomes[stopped]
            if not any(run.texts[stopped + 1 :]):
                return Run(session, steps, known).after(run)

    def _printed(self, commands: list[str], seconds: float | None) -> tuple[str, str]:
        """What the shell prints on its standard output and error."""
        os.truncate(self._file, 0)
        os.pwrite(self._file, "\n".join(commands).encode(), 0)
        self._node = self._node or Node(self._command, [self._file])
        try:
            found = json.loads(self._node.ask(b"", seconds))
        except (Ended, TimeoutError):
            self._node.kill()
            self._node = None
            raise
        return found["out"], found["err"]


class Run:
    """Some steps in a session: the commands for them, and what came of them."""

    def __init__(self, session: Session, steps: list[dict[str, Any]], known: dict[int, Outcome]) -> None:
        self.session, self.steps, self.known = session.copy(), steps, {**known}
        self.texts: list[str] = []
        self.outcomes: list[Outcome] = []
        self.logs: list[list[str]] = [[] for _ in steps]
        builder = Builder(self.session)
        for i, step in enumerate(steps):
            try:
                self.texts.append(builder.build(step, known.get(i)))
            except Refused as error:
                self.texts.append("")
                self.known[i] = {"kind": "unsupported", "detail": str(error)}
            self.outcomes.append(self.known.get(i, {"kind": "returned"}))

    @property
    def commands(self) -> Iterator[str]:
        """Those of the steps, with marks."""
        for i, text in enumerate(self.texts):
            yield mark(i)
            yield text

    def after(self, other: Run) -> Run:
        """This one, where `other` told already what its steps do."""
        self.logs = other.logs
        self.outcomes = [self.known.get(i, outcome) for i, outcome in enumerate(other.outcomes)]
        return self

    def read(self, out: str, errors: str) -> int | None:
        """Read what was printed; the step that stopped the script, None where it came to its end."""
        told, at = [Told() for _ in self.steps], -1
        for vector, stop, words in PRINTED.findall(out):
            what, *lanes = [int(lane, 16) for lane in vector.split()] or [-1]
            if what == T.AT:
                at = lanes[0] if lanes[0] <= len(told) else -1
            elif 0 <= at < len(told):
                if vector:
                    told[at].hear(what, *lanes)
                else:
                    told[at].stop(stop, words)
        for i, step in enumerate(self.steps[: at + 1]):
            self.logs[i] = told[i].logs
            self.outcomes[i] = self.known.get(i) or told[i].outcome(step)
        if at == len(self.steps):
            return None
        if at < 0 or at in self.known:
            raise Confused(f"the script did not come to its end: {errors[-1000:]}")
        failed = told[at].stopped
        if self.steps[at]["do"] != "instantiate":
            failed = {"kind": "unsupported", "detail": f"{failed or errors[-300:]}"}
        elif failed is None and errors.rstrip().endswith(NOT_INSTANTIATED):
            failed = {"kind": "threw"}
        self.outcomes[at] = failed or {"kind": "invalid", "detail": refusal(errors)}
        return at


def refusal(errors: str) -> str:
    """What the shell said of the last module."""
    return " ".join(re.split(r"BUILDING MODULE \[line: \d+\]", errors)[-1].split())[:300]


class ShellWorker(Worker):
    """Answers requests by scripts for the shell."""

    def __init__(self, answers: int, shell: Shell, version: str) -> None:
        super().__init__(answers, Profile(), Limits(), True)
        self.shell, self.version = shell, version
        self.scripts: dict[str | None, Session] = {}
        self.prepared: deque[list[tuple[Outcome, list[str]]]] = deque()

    def hello(self) -> None:
        features = sorted({*FEATURES} - {"annotations"})
        hello = {"protocol": 1, "engine": "binaryen-exec", "version": self.version, "features": features}
        self.lines.say({**hello, "values": "bridge", "linking": "names"})

    def work(self) -> None:
        """Answer all requests; those of one session that came together are one script."""
        for lines in self.lines.batches(pause=PAUSE):
            for name, group in itertools.groupby(lines, session_of):
                requests = [*group]
                if name is not None and len(requests) > 1:
                    self.prepare(name, [json.loads(line) for line in requests])
                for line in requests:
                    self.answer(line)

    def prepare(self, name: str, requests: list[dict[str, Any]]) -> None:
        """Run several requests of a session at once; where that goes wrong, each will be run by itself."""
        steps = [
            {**step, "full": request.get("observe") == "full"} for request in requests for step in request["steps"]
        ]
        try:
            run = self.shell.run(self.scripts.get(name, Session()), steps, PATIENCE)
        except (Ended, TimeoutError, Confused):
            return
        self.scripts[name] = run.session
        results = zip(run.outcomes, run.logs, strict=True)
        self.prepared += [[*itertools.islice(results, len(request["steps"]))] for request in requests]

    def run(self, request: dict[str, Any], steps: list[dict[str, Any]], profile: Profile) -> dict[str, Any]:
        name = request.get("session")
        if self.prepared:
            results = self.prepared.popleft()
        else:
            try:
                run = self.shell.run(self.scripts.get(name, Session()), steps)
            except Ended as ended:
                ended.follow()
            results = [*zip(run.outcomes, run.logs, strict=True)]
            if name is not None:
                self.scripts[name] = run.session
        if any(step["do"] == "end" for step in steps) and not self.prepared:
            self.scripts.pop(name, None)
        answer: dict[str, Any] = {"outcomes": [outcome for outcome, _ in results]}
        if trace := [log for _, logs in results for log in logs]:
            answer["trace"] = trace
        return answer


def session_of(line: bytes) -> str | None:
    """The session of a request that is well-formed."""
    try:
        request = json.loads(line)
        whole = all(isinstance(step["do"], str) for step in request["steps"]) and request.get("observe") != "full"
        return request["session"] if whole and isinstance(request.get("session"), str) else None
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None


def main() -> None:
    answers = os.dup(1)
    os.dup2(2, 1)
    split = sys.argv.index("--")
    package, version, *node = sys.argv[split + 1 :]
    if sys.argv[1:split]:
        sys.exit(f"no setting {sys.argv[1]!r}")
    worker = ShellWorker(answers, Shell(node, package), version)
    worker.hello()
    worker.work()


if __name__ == "__main__":
    main()
