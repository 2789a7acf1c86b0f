"""Workers: processes that answer requests, kept alive, watched, replaced; a failure is an answer, never the lab's end.

All input and output happens in the caller's thread, non-blocking, through one selector for all workers of a `Loop`:
no write can deadlock against a worker that writes, no worker starves while the answer of another is awaited, and a
request costs no change of thread (a reader thread for each worker would hand the interpreter's lock around for each
line).  The price: nothing is watched while the caller is away.  So deadlines count only the time during which the
loop is listening, and a worker that writes too much is stopped by its full pipe.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from wasmlab_matrices.load import Limits

from .errors import EngineUnavailable
from .place import Ending, Place, Running
from .process import gist, is_program, printable
from .wire import MAX_LINE, Answer, check_hello, encode, failure, parse_line

TICK = 0.05
"""Seconds between two looks at deadlines and memory."""
DEEP = 4
"""Requests on their way, beyond which the next ones are sent, and answers read, several at once."""
NAP = 0.0005
"""Seconds: every change of process costs, most of all where lab and workers share a core."""
MARK_GRACE = 10.0
"""Seconds beyond its deadline that a request may wait for its `started` mark when nothing stands before it."""
MAX_UNREAD = 64 << 20
"""Bytes of answers that the caller has not taken, beyond which no more is read from the worker."""
MAX_STDERR = 16 << 20
"""Bytes of standard error between two answers, beyond which a worker is flooding."""
TAIL = 16 << 10
"""Bytes of standard error that are kept."""
SHOWN_TAIL = 2000
"""Characters of it in the detail of a failure."""
DRAIN_READS = 64
EXIT_GRACE = 1.0
"""Seconds for a process to exit after its standard input, or its standard output, was closed."""
START_HINT = "run it by hand: its first line must be the hello of docs/protocol.md"
RESTARTS = 3
"""Processes in a row that may end before their hello, once one has said it or where they are killed from outside."""


@dataclass(slots=True)
class Stats:
    """What happened to a worker's processes; `last_words` is how the last one ended that nobody ended."""

    started: int = 0
    respawns: int = 0
    recycled: int = 0
    crashes: int = 0
    timeouts: int = 0
    unparsed: int = 0
    unblamed: int = 0
    """Ends of a process that no request could be blamed for."""
    outside: int = 0
    """Ends by a kill that was not the lab's."""
    answers: int = 0
    peak_resident: int = 0
    last_words: str = ""


class Loop:
    """Waits on several workers at once.  Not for several threads."""

    def __init__(self) -> None:
        self.selector = selectors.DefaultSelector()
        self.workers: list[Worker] = []
        self.owner = os.getpid()
        self._looked = time.monotonic()

    def step(self) -> None:
        """Move whatever can be moved, waiting a tick at most."""
        for worker in self.workers:
            worker._flush()
        if any(len(worker._sent) > DEEP for worker in self.workers):
            time.sleep(NAP)
        registered = self.selector.get_map()
        for key, events in self.selector.select(TICK):
            if registered.get(key.fd) is key:  # not if an earlier event of this round ended the process
                key.data(events)
        now = time.monotonic()
        if now - self._looked >= TICK:
            attended = min(now - self._looked, 2 * TICK)
            self._looked = now
            for worker in list(self.workers):
                worker._look(attended)


_loops = threading.local()


def thread_loop() -> Loop:
    """The loop that the workers of this thread share; a forked process has its own."""
    found: Loop | None = getattr(_loops, "loop", None)
    if found is None or found.owner != os.getpid():
        found = _loops.loop = Loop()
    return found


@dataclass(slots=True)
class _Request:
    id: int
    line: bytes
    steps: int
    session: str | None
    ends: bool
    deadline: float
    answer: Answer | None = None
    size: int = 0
    started: bool = False
    ran: float = 0.0
    """Seconds attended since it stood first in its process (since its mark, once that came)."""
    strikes: int = 0
    """Processes that ended with this request first and no mark."""


class Worker:
    """An engine in one configuration, answering requests in order; its process is replaced as needed.

    `submit` and `next` may be interleaved freely; up to `limits.window` requests are on their way, the others wait
    here.  Sessions (a store kept between requests) live in the process: where it ends, the requests of its sessions
    answer failure until the session's `end`.
    """

    def __init__(
        self,
        place: Place,
        limits: Limits | None = None,
        name: str = "",
        loop: Loop | None = None,
    ) -> None:
        self.place = place
        self.limits = limits or Limits()
        self.name = name or place.program
        self.stats = Stats()
        self._loop = loop or thread_loop()
        self._hello: Answer = {}
        self._process: Running | None = None
        self._begun = self._greeted = False
        self._greeting_time = 0.0
        self._failed_starts = 0
        self._broken: EngineUnavailable | None = None
        self._ids = 0
        self._pending: deque[_Request] = deque()  # all whose answers were not taken, in order
        self._queue: deque[_Request] = deque()  # of these, those not sent
        self._sent: deque[_Request] = deque()  # of these, those on their way; the first is at work
        self._unread = 0
        self._out = bytearray()
        self._parts: list[bytes] = []  # of the line that is not complete
        self._parts_size = 0
        self._tail = b""
        self._stderr_size = 0
        self._served = 0
        self._draining = False
        self._reading = self._writing = False  # which of the pipes the selector knows
        self._sessions: set[str] = set()
        self._lost_sessions: dict[str, str] = {}

    def __enter__(self) -> Worker:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def hello(self) -> Answer:
        """What the worker said of itself; empty before `start`."""
        return self._hello

    def pending(self) -> int:
        """How many answers are still to be taken."""
        return len(self._pending)

    def ready(self) -> bool:
        """Whether `next` has an answer, or an error, without waiting."""
        return bool(self._pending) and (self._pending[0].answer is not None or self._broken is not None)

    def begin(self) -> None:
        """Start the process, without waiting for its hello: so several start at once."""
        self._begun = True
        if self._process is None:
            self._broken = None
            self._failed_starts = 0
            self._spawn()

    def start(self) -> None:
        """Start the process and wait for its hello; EngineUnavailable where none comes."""
        if not self._begun:
            self.begin()
        self._begun = False
        self._wait(lambda: self._greeted)

    def processor_time(self) -> float:
        """Seconds of processor time that the process has used; 0 where that cannot be seen."""
        return self._process.processor_time() if self._process else 0.0

    def resident(self) -> int:
        """Bytes of resident memory of the process; 0 where that cannot be seen."""
        return self._process.resident() if self._process else 0

    def submit(self, request: Answer, deadline: float | None = None) -> None:
        """Hand over a request without `id`; `deadline`: seconds it may run once started."""
        self._ids += 1
        line = encode({"id": self._ids, **request})
        if len(line) > MAX_LINE:
            raise ValueError(f"a request of {len(line)} bytes: the protocol allows {MAX_LINE}")
        steps, session = request["steps"], request.get("session")
        ends = session is not None and any(step.get("do") == "end" for step in steps)
        deadline = self.limits.deadline if deadline is None else deadline
        found = _Request(self._ids, line, len(steps), session, ends, deadline)
        self._pending.append(found)
        self._enqueue(found)
        if self._process is None and self._queue and self._broken is None:
            self._spawn()
        self._dispatch()

    def next(self) -> Answer:
        """The next answer, in order of submission: the worker's object, or `{"failure": {"kind", "detail", "cause"}}`.

        `kind` is an outcome's ("timed out", "crashed", "unparsed"), `cause` one of "deadline", "memory", "output",
        "protocol", "session", "end" (it ended by itself).
        """
        if not self._pending:
            raise LookupError("no request was submitted whose answer was not taken")
        if self._pending[0].answer is None:
            self._wait(lambda: self._pending[0].answer is not None)
        request = self._pending.popleft()
        self._unread -= request.size
        self._listen()
        answer: Answer = request.answer or {}
        return answer

    def close(self) -> None:
        """End the process; what was submitted and not answered is dropped.  A request starts another one."""
        self._pending.clear()
        self._queue.clear()
        self._broken, self._failed_starts = None, 0
        self._unread = 0
        if self._process:
            self._farewell()
        self._sent.clear()

    def _wait(self, done: Callable[[], bool]) -> None:
        while not done():
            if self._broken:
                raise self._broken
            if self._process is None:
                self._spawn()
            else:
                self._loop.step()

    # The process.

    def _spawn(self) -> None:
        self._greeted, self._greeting_time = False, 0.0
        self._out.clear()
        self._parts, self._parts_size = [], 0
        self._tail, self._stderr_size = b"", 0
        self._served, self._draining = 0, False
        self._sessions.clear()
        self._reading = self._writing = False
        try:
            process = self.place.start()
        except EngineUnavailable as error:
            self._broken = EngineUnavailable(f"{self.name}: {error}", error.hint)
            return
        self.stats.respawns += self.stats.started > 0
        self.stats.started += 1
        self._process = process
        self._loop.workers.append(self)
        self._listen()
        if process.stderr is not None:
            self._loop.selector.register(process.stderr, selectors.EVENT_READ, self._on_stderr)

    def _release(self) -> Ending:
        """Part with the process, dead or alive; EngineUnavailable where its place is not there any more."""
        process, self._process = self._process, None
        if process is None:
            return Ending("")
        self._loop.workers.remove(self)
        for descriptor in (process.stdin, process.stdout, process.stderr):
            if descriptor is not None:
                with contextlib.suppress(KeyError, ValueError):
                    self._loop.selector.unregister(descriptor)
        return process.end()

    def _farewell(self) -> None:
        """Let an idle process go, with time to exit by itself (some write their coverage then)."""
        if self._process and not self._sent:
            with contextlib.suppress(KeyError, ValueError):
                self._loop.selector.unregister(self._process.stdin)
            self._process.close_stdin()
            self._process.exited(within=EXIT_GRACE)
        with contextlib.suppress(EngineUnavailable):
            self._release()

    def _look(self, attended: float) -> None:
        """Hold the process against its limits; `attended`: seconds since the last look, as far as the loop ran."""
        process = self._process
        if process is None:
            return
        if self._unread > MAX_UNREAD:
            attended = 0
        if process.exited():  # perhaps without an end of its output, which a child of its own may hold open
            self._drain()
            if self._process is process:
                self._fail("crashed", "end")
            return
        resident = process.resident()
        self.stats.peak_resident = max(self.stats.peak_resident, resident)
        if resident > self.limits.memory << 20:
            why = f"{resident >> 20} MiB of resident memory: more than {self.limits.memory}"
            self._fail("crashed", "memory", why)
        elif not self._greeted:
            self._greeting_time += attended
            late = self._greeting_time - self.limits.startup
            if late > 0 and late > process.waited():
                self._fail("timed out", "deadline", f"no hello within {self.limits.startup:g} s")
        elif self._sent:
            self._look_at_deadline(process, self._sent[0], attended)
        if self._process is process and resident > self.limits.recycle_memory << 20:
            self._draining = True
            self._dispatch()

    def _look_at_deadline(self, process: Running, first: _Request, attended: float) -> None:
        first.ran += attended
        if first.ran <= first.deadline + (0 if first.started else MARK_GRACE):
            return
        what = f"no answer within {first.deadline:g} s" if first.started else f"not started within {first.ran:.3g} s"
        used = f"{process.processor_time():.2g} s of processor time so far"
        self._fail("timed out", "deadline", f"{what}; {used}", certain=True)

    # Input and output.

    def _listen(self) -> None:
        """Read the answers, or leave them in the pipe while the caller has too many."""
        process, wanted = self._process, self._unread <= MAX_UNREAD
        if process is None or wanted is self._reading:
            return
        self._reading = wanted
        if wanted:
            self._loop.selector.register(process.stdout, selectors.EVENT_READ, self._on_stdout)
        else:
            self._loop.selector.unregister(process.stdout)

    def _dispatch(self) -> None:
        """Send what the window allows; an idle process that is to be recycled goes first."""
        if not self._process or not self._greeted:
            return
        if self._draining and not self._sessions:
            if self._sent:
                return
            self.stats.recycled += 1
            self._farewell()
            if self._queue:
                self._spawn()
            return
        while self._queue and len(self._sent) < self.limits.window:
            request = self._queue.popleft()
            self._sent.append(request)
            self._out += request.line
        if len(self._sent) <= DEEP:
            self._flush()

    def _flush(self, _events: int = 0) -> None:
        process = self._process
        if process is None or not self._out:
            return
        try:
            del self._out[: os.write(process.stdin, self._out)]
        except BlockingIOError:
            pass
        except OSError:  # it does not read any more: its end, or the deadline, will tell
            self._out.clear()
        if bool(self._out) is self._writing:
            return
        self._writing = bool(self._out)
        if self._writing:
            self._loop.selector.register(process.stdin, selectors.EVENT_WRITE, self._flush)
        else:
            self._loop.selector.unregister(process.stdin)

    def _on_stdout(self, _events: int = 0) -> bool:
        """Read once; False when there was nothing to read or the process is gone."""
        process = self._process
        if process is None:
            return False
        try:
            chunk = process.read()
        except BlockingIOError:
            if process.stderr is None:
                self._on_stderr()
            return False
        if process.stderr is None:
            self._on_stderr()
            if self._process is not process:
                return False
        if not chunk:
            self._fail("crashed", "end")
            return False
        end = chunk.rfind(b"\n")
        if end >= 0:
            lines = b"".join([*self._parts, chunk[:end]]).split(b"\n")
            chunk = chunk[end + 1 :]
            self._parts, self._parts_size = [], 0
            for line in lines:
                self._on_line(line)
                if self._process is not process:
                    return False
        self._parts.append(chunk)
        self._parts_size += len(chunk)
        if self._parts_size > MAX_LINE:
            self._fail("unparsed", "output", f"a line of more than {MAX_LINE} bytes")
            return False
        self._listen()
        self._dispatch()
        return True

    def _on_stderr(self, _events: int = 0) -> bool:
        """Read once; False when there was nothing to read or the process is gone."""
        process = self._process
        if process is None:
            return False
        try:
            chunk = process.read_errors()
        except BlockingIOError:
            return False
        if not chunk:
            if process.stderr is not None:
                with contextlib.suppress(KeyError, ValueError):
                    self._loop.selector.unregister(process.stderr)
            return False
        self._tail = (self._tail + chunk)[-TAIL:]
        self._stderr_size += len(chunk)
        if self._stderr_size > MAX_STDERR:
            self._fail("unparsed", "output", f"more than {MAX_STDERR} bytes on standard error")
        return True

    def _drain(self) -> None:
        """Read what an ended process left in its pipes."""
        for _ in range(DRAIN_READS):
            if not self._on_stdout():
                break

    # Lines.

    def _on_line(self, line: bytes) -> None:
        message = parse_line(line)
        if isinstance(message, str):
            self._fail("unparsed", "protocol", f"{message}: {printable(line[:200])}")
        elif not self._greeted:
            self._on_hello(message)
        elif not self._sent:
            self._fail("unparsed", "protocol", f"a line that nobody asked for: {printable(line[:200])}")
        else:
            first = self._sent[0]
            wrong = self._on_message(first, message, len(line))
            if wrong:
                self._fail("unparsed", "protocol", f"{wrong}: {printable(line[:200])}")

    def _on_hello(self, message: Answer) -> None:
        if isinstance(why := message.get("unavailable"), str):
            self._release()
            self._broken = EngineUnavailable(f"{self.name}: {printable(why)}", printable(str(message.get("hint", ""))))
            return
        wrong = check_hello(message)
        if wrong:
            self._failed_starts = RESTARTS  # it will not say anything better the next time
            self._fail("unparsed", "protocol", f"its hello is none: {wrong}")
            return
        self._hello, self._greeted, self._failed_starts = message, True, 0
        self._dispatch()

    def _on_message(self, first: _Request, message: Answer, size: int) -> str:
        """Take a mark or an answer; what is wrong with it, or ""."""
        if "started" in message:
            if first.started or message["started"] != first.id or type(message["started"]) is not int:
                return f"started, where {first.id} stands first"
            first.started, first.ran = True, 0.0
            if first.session is not None:
                self._sessions.add(first.session)
            return ""
        if message.get("id") != first.id or type(message["id"]) is not int:
            return f"not the answer to {first.id}"
        outcomes = message.get("outcomes")
        if not isinstance(outcomes, list) or len(outcomes) != first.steps:
            return f"not {first.steps} outcomes"
        self._sent.popleft()
        if first.session is not None:
            (self._sessions.discard if first.ends else self._sessions.add)(first.session)
        self._stderr_size = 0
        self._served += 1
        self._draining |= self._served >= self.limits.recycle
        self.stats.answers += 1
        self._answer(first, message, size)
        return ""

    # Answers and blame.

    def _answer(self, request: _Request, answer: Answer, size: int = 0) -> None:
        request.answer, request.size, request.line = answer, size, b""
        self._unread += size

    def _enqueue(self, request: _Request) -> None:
        """Queue a request, unless the store of its session is gone."""
        why = self._lost_sessions.get(request.session) if request.session is not None else None
        if why is None:
            self._queue.append(request)
            return
        if request.ends and request.session is not None:
            del self._lost_sessions[request.session]
        self._answer(request, failure("crashed", "session", f"session {request.session!r} was lost: {why}"))

    def _fail(self, kind: str, cause: str, why: str = "", certain: bool = False) -> None:
        """End the process, blame who is to blame, and send the others again."""
        process = self._process
        if process is None:
            return
        alone = process.exited(within=EXIT_GRACE if cause == "end" else 0)
        if self._parts_size and cause == "end":
            why = "in the middle of a line"
        self._last_tail(process)
        try:
            ended = self._release()
        except EngineUnavailable as error:  # no word about the engine
            self._broken = EngineUnavailable(f"{self.name}: {error}", error.hint)
            return
        outside = ended.cause == "killed" and alone and cause == "end"
        self.stats.outside += outside
        if outside:
            why += " (not killed by the lab: out of memory?)"
        if cause == "end":
            why = f"{ended.how if alone else 'closed its standard output'} {why}".rstrip()
            cause = ended.cause if ended.cause == "memory" else cause
        tail = printable(self._tail)[-SHOWN_TAIL:].strip()
        detail = f"{why}; stderr: {tail}" if tail else why
        self.stats.last_words = detail
        if not self._greeted:
            self._failed_starts += 1 if outside or self._hello else RESTARTS
            if self._failed_starts >= RESTARTS:
                hint = START_HINT if is_program(self.name) else ""
                said = f"{why}; it says: {gist(tail)}" if tail else why
                self._broken = EngineUnavailable(f"{self.name} does not start: {said}", hint)
            return
        self._blame(kind, cause, detail, certain, outside)

    def _blame(self, kind: str, cause: str, detail: str, certain: bool, outside: bool) -> None:
        """Fail the request that stood first, if it had started or also stood first when the process before ended.

        What was killed from outside gets a second chance, too: the killer may have meant anything.
        """
        rest = [*self._sent, *self._queue]
        self._lost_sessions |= dict.fromkeys(self._sessions, detail)
        self.stats.crashes += kind == "crashed"
        self.stats.timeouts += kind == "timed out"
        self.stats.unparsed += kind == "unparsed"
        if self._sent and (certain or self._sent[0].strikes or (self._sent[0].started and not outside)):
            first = rest.pop(0)
            if first.session is not None:
                self._lost_sessions[first.session] = detail
                if first.ends:
                    del self._lost_sessions[first.session]
            self._answer(first, failure(kind, cause, detail))
        else:
            self.stats.unblamed += 1
            if self._sent:
                self._sent[0].strikes += 1
        self._sent.clear()
        self._queue.clear()
        for request in rest:
            request.started, request.ran = False, 0.0
            self._enqueue(request)
        if self._queue:
            self._spawn()

    def _last_tail(self, process: Running) -> None:
        """What the process wrote to standard error just before its end."""
        with contextlib.suppress(OSError):
            for _ in range(DRAIN_READS):
                chunk = process.read_errors()
                if not chunk:
                    return
                self._tail = (self._tail + chunk)[-TAIL:]
