"""The store of a campaign: one folder with an SQLite file, modules as blobs.

What agreed is only counted, for its seed makes it again; what diverged or was inconclusive is kept whole.  Batches
are transactions, so a campaign that is killed loses nothing that it had reported.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import sqlite3
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from wasmlab_ref.case import Case, Outcome

from .errors import Missing, UsageError
from .machine import machine
from .model import REACHED, Answers, Batch, Campaign, Divergence, EngineRecord, Progress, Run, Sample, Session

SCHEMA = 3
"""Version of the tables below; a store of a newer one is refused."""

FILE = "campaign.sqlite"

SAMPLES = 20
"""Cases kept for each reason of being inconclusive."""

_TABLES = """
CREATE TABLE campaign (id INTEGER PRIMARY KEY CHECK (id = 1), schema INTEGER NOT NULL, engines TEXT NOT NULL,
    features TEXT NOT NULL, seed TEXT NOT NULL, generator TEXT NOT NULL, started REAL NOT NULL, seconds REAL NOT NULL,
    done TEXT NOT NULL);
CREATE TABLE counts (kind TEXT NOT NULL, name TEXT NOT NULL, n INTEGER NOT NULL, PRIMARY KEY (kind, name));
CREATE TABLE modules (digest TEXT PRIMARY KEY, bytes BLOB NOT NULL);
CREATE TABLE cases (id INTEGER PRIMARY KEY, body TEXT NOT NULL);
CREATE TABLE divergences (id TEXT PRIMARY KEY, signature TEXT NOT NULL, body TEXT NOT NULL, found INTEGER NOT NULL,
    reduced INTEGER NOT NULL, n INTEGER NOT NULL);
CREATE TABLE samples (reason TEXT NOT NULL, number INTEGER NOT NULL, body TEXT NOT NULL, found INTEGER NOT NULL,
    PRIMARY KEY (reason, number));
"""
_CHOICES = """
CREATE TABLE choices (engine TEXT NOT NULL, name TEXT NOT NULL, choice TEXT NOT NULL, PRIMARY KEY (engine, name));
"""
_SESSIONS = """
CREATE TABLE sessions (id INTEGER PRIMARY KEY, started REAL NOT NULL, seconds REAL NOT NULL, machine TEXT NOT NULL);
"""
_MIGRATIONS = {1: _CHOICES, 2: _SESSIONS}
"""What makes a store of a schema one of the next."""
_COUNTED = ("counters", "inconclusive", "rules", "instructions")


class Store:
    """A campaign's folder, open for writing by this process alone."""

    def __init__(self, folder: Path, campaign: Campaign) -> None:
        """Create the store, or resume it if it holds the same campaign; `UsageError` if it holds another."""
        self.folder = folder
        with _failures(folder):
            folder.mkdir(parents=True, exist_ok=True)
            self._lock = _lock(folder)
            try:
                self._db = _connect(folder / FILE)
                self.progress = self._open(campaign)
                with self._db:
                    row = (time.time(), json.dumps(machine()))
                    self._session = self._db.execute("INSERT INTO sessions VALUES (NULL, ?, 0, ?)", row).lastrowid
            except BaseException:
                os.close(self._lock)
                raise

    def _open(self, campaign: Campaign) -> Progress:
        if not _has_tables(self._db):
            with self._db:
                self._db.executescript("BEGIN;" + _TABLES + _CHOICES + _SESSIONS)
                self._db.execute(
                    "INSERT INTO campaign VALUES (1, ?, ?, ?, ?, ?, ?, 0, ?)",
                    (SCHEMA, json.dumps([e.to_json() for e in campaign.engines]), json.dumps(campaign.features),
                     str(campaign.seed), campaign.generator, time.time(), "[]"),
                )  # fmt: skip
            return Progress()
        stored, row = _campaign(self._db, self.folder)
        for schema in range(row["schema"], SCHEMA):
            with self._db:
                self._db.executescript(f"BEGIN; {_MIGRATIONS[schema]} UPDATE campaign SET schema = {schema + 1};")
        for what in ("names", "versions", "features", "seed", "generator"):
            if (old := getattr(stored, what)) != (new := getattr(campaign, what)):
                raise UsageError(
                    f"{self.folder} holds a campaign with other {what}: {_short(old)}, not {_short(new)}",
                    hint="choose another --out, or the same engines, features and seed to resume",
                )
        return _progress(row["done"])

    def record(self, batch: Batch) -> None:
        """Add a batch, in one transaction."""
        progress = Progress(self.progress.low, set(self.progress.above))
        progress.add(batch.done)
        with _failures(self.folder), self._db:
            for kind in _COUNTED:
                self._db.executemany(
                    "INSERT INTO counts VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET n = n + excluded.n",
                    [(kind, name, n) for name, n in getattr(batch, kind).items()],
                )
            for divergence in batch.divergences:
                self._divergence(divergence)
            for id_, n in batch.again.items():
                self._db.execute("UPDATE divergences SET n = n + ? WHERE id = ?", (n, id_))
            for sample in batch.samples:
                self._sample(sample)
            for engine, choices in batch.choices.items():
                rows = [(engine, name, choice) for name, choice in choices.items()]
                self._db.executemany("INSERT OR REPLACE INTO choices VALUES (?, ?, ?)", rows)
            self._db.execute(
                "UPDATE campaign SET seconds = seconds + ?, done = ?",
                (batch.seconds, json.dumps(progress.ranges)),
            )
            self._db.execute("UPDATE sessions SET seconds = seconds + ? WHERE id = ?", (batch.seconds, self._session))
        self.progress = progress

    @property
    def reached(self) -> frozenset[str]:
        """The rules and instructions that were seen so far."""
        with _failures(self.folder):
            rows = self._db.execute("SELECT name FROM counts WHERE kind IN ('rules', 'instructions')")
            return frozenset(name for (name,) in rows)

    def _divergence(self, found: Divergence) -> None:
        """Insert a divergence; of two with one signature the smaller case stays, and both are counted."""
        row = self._db.execute("SELECT * FROM divergences WHERE id = ?", (found.id,)).fetchone()
        if row is not None and json.loads(row["body"])["size"] <= found.size:
            self._db.execute("UPDATE divergences SET n = n + ? WHERE id = ?", (found.count, found.id))
            return
        if row is not None:
            self._db.execute("DELETE FROM cases WHERE id IN (?, ?)", (row["found"], row["reduced"]))
        body = {
            "groups": found.groups, "stage": found.stage, "sentence": found.sentence, "index": found.index,
            "step": found.step, "answers": _answers_to_json(found.answers), "size": found.size,
            "seconds": found.seconds, "known": found.known,
            "byte": found.byte, "confirmed": found.confirmed, "trace": found.trace,
        }  # fmt: skip
        self._db.execute(
            "INSERT OR REPLACE INTO divergences VALUES (?, ?, ?, ?, ?, ?)",
            (found.id, found.signature, json.dumps(body), self._case(found.case), self._case(found.reduced),
             found.count + (row["n"] if row else 0)),
        )  # fmt: skip

    def _sample(self, sample: Sample) -> None:
        kept = self._db.execute("SELECT count(*) FROM samples WHERE reason = ?", (sample.reason,)).fetchone()[0]
        if kept < SAMPLES or sample.reason == REACHED:
            body = json.dumps(_answers_to_json(sample.answers))
            row = (sample.reason, sample.index, body, self._case(sample.case))
            self._db.execute("INSERT OR REPLACE INTO samples VALUES (?, ?, ?, ?)", row)

    def _case(self, case: Case) -> int:
        body = case.to_json()
        body["modules"] = [hashlib.sha256(module).hexdigest() for module in case.modules]
        rows = zip(body["modules"], case.modules, strict=True)
        self._db.executemany("INSERT OR IGNORE INTO modules VALUES (?, ?)", rows)
        return self._db.execute("INSERT INTO cases (body) VALUES (?)", (json.dumps(body),)).lastrowid or 0

    def close(self) -> None:
        """Close and unlock."""
        with _failures(self.folder):
            self._db.close()
        os.close(self._lock)

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def load(folder: Path) -> Run:
    """Read a store, also while its campaign runs; `UsageError` if there is none."""
    if not (folder / FILE).is_file():
        raise UsageError(f"{folder} holds no campaign (no {FILE})", hint="wasmlab fuzz --out DIR makes one")
    with _failures(folder):
        db = _connect(folder / FILE, read_only=True)
        try:
            campaign, row = _campaign(db, folder)
            counted = {kind: _counts(db, kind) for kind in _COUNTED}
            return Run(
                folder=str(folder), campaign=campaign, started=row["started"], seconds=row["seconds"],
                divergences=list(_divergences(db)), samples=list(_samples(db)), progress=_progress(row["done"]),
                choices=_choices(db) if row["schema"] > 1 else {},
                sessions=_sessions(db) if row["schema"] > 2 else [],
                **counted,
            )  # fmt: skip
        finally:
            db.close()


def _connect(path: Path, read_only: bool = False) -> sqlite3.Connection:
    uri = f"{path.resolve().as_uri()}?mode={'ro' if read_only else 'rwc'}"
    db = sqlite3.connect(uri, uri=True, timeout=10)
    db.row_factory = sqlite3.Row
    if not read_only:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = NORMAL")
    return db


def _has_tables(db: sqlite3.Connection) -> bool:
    return db.execute("SELECT 1 FROM sqlite_master WHERE name = 'campaign'").fetchone() is not None


def _campaign(db: sqlite3.Connection, folder: Path) -> tuple[Campaign, sqlite3.Row]:
    if not _has_tables(db):
        raise UsageError(f"{folder / FILE} is no campaign of wasmlab")
    row = db.execute("SELECT * FROM campaign").fetchone()
    if row["schema"] > SCHEMA:
        raise UsageError(
            f"{folder} was written by a newer wasmlab (schema {row['schema']}, this one reads {SCHEMA})",
            hint="upgrade wasmlab, or choose another folder",
        )
    engines = tuple(EngineRecord.from_json(e) for e in json.loads(row["engines"]))
    return Campaign(engines, tuple(json.loads(row["features"])), int(row["seed"]), row["generator"]), row


def _counts(db: sqlite3.Connection, kind: str) -> Counter[str]:
    return Counter(dict(db.execute("SELECT name, n FROM counts WHERE kind = ? ORDER BY name", (kind,)).fetchall()))


def _divergences(db: sqlite3.Connection) -> Iterator[Divergence]:
    for row in db.execute("SELECT * FROM divergences ORDER BY n DESC, id"):
        body = json.loads(row["body"])
        yield Divergence(
            id=row["id"], signature=row["signature"], groups=tuple(map(tuple, body["groups"])), stage=body["stage"],
            sentence=body["sentence"], index=body["index"], case=_load_case(db, row["found"]),
            reduced=_load_case(db, row["reduced"]), step=body["step"], answers=_answers_from_json(body["answers"]),
            size=body["size"], seconds=body["seconds"], known=body["known"], count=row["n"],
            byte=tuple(body["byte"]) if body["byte"] else None, confirmed=tuple(body.get("confirmed", (1, 1))),
            trace=tuple(map(tuple, body.get("trace", ()))),
        )  # fmt: skip


def _choices(db: sqlite3.Connection) -> dict[str, Mapping[str, str]]:
    found: dict[str, dict[str, str]] = {}
    for row in db.execute("SELECT * FROM choices ORDER BY rowid"):
        found.setdefault(row["engine"], {})[row["name"]] = row["choice"]
    return dict(found)


def _sessions(db: sqlite3.Connection) -> list[Session]:
    rows = db.execute("SELECT * FROM sessions ORDER BY id")
    return [Session(row["started"], row["seconds"], json.loads(row["machine"])) for row in rows]


def _progress(text: str) -> Progress:
    """Ranges; up to schema 2, the first number that is not done and those beyond it that are."""
    found = json.loads(text)
    if found and isinstance(found[0], int):
        return Progress(found[0], set(found[1]))
    return Progress.of(found)


def _samples(db: sqlite3.Connection) -> Iterator[Sample]:
    for row in db.execute("SELECT * FROM samples ORDER BY reason, number"):
        answers = _answers_from_json(json.loads(row["body"]))
        yield Sample(row["reason"], row["number"], _load_case(db, row["found"]), answers)


def _load_case(db: sqlite3.Connection, number: int) -> Case:
    body = json.loads(db.execute("SELECT body FROM cases WHERE id = ?", (number,)).fetchone()[0])
    digests = body.pop("modules")
    modules = [db.execute("SELECT bytes FROM modules WHERE digest = ?", (d,)).fetchone()[0] for d in digests]
    case = Case.from_json({**body, "modules": []})
    return Case(tuple(modules), case.steps, case.origin)


def _answers_to_json(answers: Answers) -> dict[str, Any]:
    return {name: [[o.to_json() for o in outcomes], list(trace)] for name, (outcomes, trace) in answers.items()}


def _answers_from_json(data: dict[str, Any]) -> Answers:
    return {
        name: (tuple(Outcome.from_json(o) for o in outcomes), tuple(trace)) for name, (outcomes, trace) in data.items()
    }


def _lock(folder: Path) -> int:
    """Take the folder's lock; it goes with the process, however that ends."""
    handle = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        owner = os.read(handle, 32).decode(errors="replace").strip()
        os.close(handle)
        raise UsageError(
            f"{folder} belongs to a campaign that is running (process {owner or 'unknown'})",
            hint="choose another --out, or wait until it has ended",
        ) from None
    os.ftruncate(handle, 0)
    os.write(handle, f"{os.getpid()}\n".encode())
    return handle


@contextmanager
def _failures(folder: Path) -> Iterator[None]:
    """Turn what SQLite and the file system say into one clear line."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        if "full" in str(error) or "readonly" in str(error) or "disk I/O" in str(error):
            raise Missing(f"cannot write {folder}: {error}", hint="what was committed before is kept") from error
        raise UsageError(f"{folder / FILE}: {error}") from error
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM):
            raise Missing(f"cannot write {folder}: {error.strerror}") from error
        if error.errno in (errno.EEXIST, errno.ENOTDIR):
            raise UsageError(f"{folder} is not a folder") from error
        raise


def _short(value: object) -> str:
    text = ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)
    return text if len(text) < 120 else text[:119] + "…"
