"""The store: nothing lost, nothing mixed up, clear refusals."""

from __future__ import annotations

import os
import platform
import sqlite3
import subprocess
import sys
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest

from wasmlab import store as store_module
from wasmlab.errors import Missing, UsageError
from wasmlab.model import REACHED, Batch, Campaign, Divergence, EngineRecord, Sample
from wasmlab.store import FILE, SAMPLES, SCHEMA, Store, load
from wasmlab_ref.case import Case, Instantiate, Invoke, Outcome

ENGINES = (EngineRecord("ref", "ref", "1", ("mvp",)), EngineRecord("x", "x@2", "2", ("mvp", "simd")))
CAMPAIGN = Campaign(ENGINES, ("mvp",), 1 << 70, "digest")
CASE = Case((b"\0asm\1\0\0\0",), (Instantiate("a", 0), Invoke("a", "<script>", ("i32:1",), 3)), "seed 5")
ANSWERS = {"ref": ((Outcome("returned"), Outcome("returned", ("i32:1",))), ("1,2",)), "x": ((Outcome("crashed"),), ())}


def divergence(id_: str = "abc", size: int = 3) -> Divergence:
    return Divergence(
        id_, "signature", (("ref",), ("x",)), "invoke", "they differ", 7, CASE, CASE, 1, ANSWERS, size, 0.5
    )


def test_a_store_gives_back_what_it_was_given(tmp_path: Path) -> None:
    batch = Batch([0, 1, 5], 0.5, Counter(cases=3), Counter(fuel=1), Counter(rule=2), Counter({"i32.add": 4}))
    batch.divergences.append(divergence())
    batch.samples.append(Sample("fuel", 5, CASE, ANSWERS))
    with Store(tmp_path, CAMPAIGN) as store:
        store.record(batch)
        run = load(tmp_path)
    assert run.campaign == CAMPAIGN
    assert run.divergences == [divergence()]
    assert run.samples == batch.samples
    assert (run.counters, run.inconclusive, run.rules, run.instructions) == (
        batch.counters, batch.inconclusive, batch.rules, batch.instructions,
    )  # fmt: skip
    assert run.progress.low == 2
    assert run.progress.above == {5}


def test_of_one_signature_the_smaller_case_stays_and_all_count(tmp_path: Path) -> None:
    with Store(tmp_path, CAMPAIGN) as store:
        for size in (5, 3, 4):
            store.record(Batch(divergences=[divergence(size=size)]))
        store.record(Batch(again=Counter(abc=10)))
    (found,) = load(tmp_path).divergences
    assert (found.size, found.count) == (3, 13)


def test_samples_are_bounded(tmp_path: Path) -> None:
    with Store(tmp_path, CAMPAIGN) as store:
        store.record(Batch(samples=[Sample("fuel", n, CASE, ANSWERS) for n in range(3 * SAMPLES)]))
    assert len(load(tmp_path).samples) == SAMPLES


def test_a_folder_in_use_is_refused(tmp_path: Path) -> None:
    with Store(tmp_path, CAMPAIGN), pytest.raises(UsageError, match=rf"running \(process {os.getpid()}\)"):
        Store(tmp_path, CAMPAIGN)
    Store(tmp_path, CAMPAIGN).close()


def test_another_campaign_is_refused(tmp_path: Path) -> None:
    Store(tmp_path, CAMPAIGN).close()
    with pytest.raises(UsageError, match="other seed"):
        Store(tmp_path, Campaign(ENGINES, ("mvp",), 2, "digest"))
    newer = (ENGINES[0], EngineRecord("x", "x@3", "3", ("mvp", "simd")))
    with pytest.raises(UsageError, match="other versions: ref 1, x@2 2, not ref 1, x@3 3"):
        Store(tmp_path, Campaign(newer, ("mvp",), 1 << 70, "digest"))
    with pytest.raises(UsageError, match="other generator"):
        Store(tmp_path, Campaign(ENGINES, ("mvp",), 1 << 70, "other"))
    Store(tmp_path, CAMPAIGN).close()


def test_a_killed_campaign_keeps_what_it_recorded(tmp_path: Path) -> None:
    code = f"""
import os, signal
from pathlib import Path
from test_store import CAMPAIGN
from wasmlab.model import Batch
from wasmlab.store import Store
store = Store(Path({str(tmp_path)!r}), CAMPAIGN)
store.record(Batch(list(range(10))))
os.kill(os.getpid(), signal.SIGKILL)
"""
    paths = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    subprocess.run([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": paths}, check=False)
    assert load(tmp_path).progress.low == 10
    with Store(tmp_path, CAMPAIGN) as store:
        store.record(Batch(list(range(10, 12))))
    assert load(tmp_path).progress.low == 12


def test_no_store_no_campaign_and_a_newer_one(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds no campaign"):
        load(tmp_path)
    (tmp_path / FILE).write_bytes(b"this is no database" * 100)
    with pytest.raises(UsageError, match="not a database"):
        load(tmp_path)
    (tmp_path / FILE).unlink()
    Store(tmp_path, CAMPAIGN).close()
    with sqlite3.connect(tmp_path / FILE) as db:
        db.execute("UPDATE campaign SET schema = 99")
    with pytest.raises(UsageError, match="newer wasmlab"):
        load(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="not a folder"):
        Store(tmp_path / "file", CAMPAIGN)


def test_a_full_disk_is_one_clear_line_and_what_was_there_stays(tmp_path: Path) -> None:
    with Store(tmp_path, CAMPAIGN) as store:
        store.record(Batch([0]))
        pages = store._db.execute("PRAGMA page_count").fetchone()[0]
        store._db.execute(f"PRAGMA max_page_count = {pages + 2}")
        big = Case((os.urandom(1 << 20),), CASE.steps)
        with pytest.raises(Missing, match="database or disk is full") as caught:
            store.record(Batch([1], samples=[Sample("fuel", 1, big, ANSWERS)]))
        assert caught.value.status == 3
        assert store.progress.low == 1
    assert load(tmp_path).progress.low == 1


@pytest.mark.parametrize("schema", range(1, SCHEMA + 1))
def test_a_store_of_any_schema_is_read_and_goes_on(schema: int, tmp_path: Path) -> None:
    """The scripts are what `sqlite3 campaign.sqlite .dump` said when that schema was new."""
    with closing(sqlite3.connect(tmp_path / FILE)) as db:
        db.executescript((Path(__file__).parent / "data" / f"store-{schema}.sql").read_text())
    before = load(tmp_path)
    assert before.campaign == CAMPAIGN
    assert before.divergences == [divergence()]
    assert before.samples == [Sample("fuel", 5, CASE, ANSWERS)]
    assert before.progress.ranges == [(0, 2), (5, 7), (9, 10)]
    assert before.choices == ({"ref": {"nan": "x86"}} if schema > 1 else {})
    with Store(tmp_path, CAMPAIGN) as store:
        assert store.progress == before.progress
        store.record(Batch([2, 3, 4], 1.5, Counter(cases=3), choices={"x": {"nan": "arm64"}}))
    run = load(tmp_path)
    assert run.progress.ranges == [(0, 7), (9, 10)]
    assert run.choices == {**before.choices, "x": {"nan": "arm64"}}
    assert run.cases == 8
    assert run.seconds == 2.0
    assert run.sessions[-1].seconds == 1.5
    assert run.sessions[-1].machine["architecture"] == platform.machine()
    assert (run.divergences, run.samples) == (before.divergences, before.samples)
    with closing(sqlite3.connect(tmp_path / FILE)) as db:
        assert db.execute("SELECT schema FROM campaign").fetchone() == (SCHEMA,)


def test_a_migration_that_is_cut_short_begins_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with closing(sqlite3.connect(tmp_path / FILE)) as db:
        db.executescript((Path(__file__).parent / "data" / "store-1.sql").read_text())
    torn = {**store_module._MIGRATIONS, 2: store_module._SESSIONS + "INSERT INTO nowhere VALUES (1);"}
    with monkeypatch.context() as patched, pytest.raises(UsageError, match="nowhere"):
        patched.setattr(store_module, "_MIGRATIONS", torn)
        Store(tmp_path, CAMPAIGN)
    assert load(tmp_path).divergences == [divergence()]
    Store(tmp_path, CAMPAIGN).close()
    assert len(load(tmp_path).sessions) == 1


def test_blobs_are_kept_once(tmp_path: Path) -> None:
    with Store(tmp_path, CAMPAIGN) as store:
        for size in (9, 8, 7):
            store.record(Batch(divergences=[divergence(size=size), divergence("def", size)]))
    with closing(sqlite3.connect(tmp_path / FILE)) as db:
        assert db.execute("SELECT count(*) FROM modules").fetchone() == (1,)
        assert db.execute("SELECT count(*) FROM cases").fetchone() == (4,)


def test_what_agreed_takes_no_room(tmp_path: Path) -> None:
    with Store(tmp_path, CAMPAIGN) as store:
        for start in range(0, 100_000, 1000):
            store.record(Batch(list(range(start, start + 1000)), counters=Counter(cases=1000, agree=1000)))
        assert store._db.execute("SELECT done FROM campaign").fetchone()[0] == "[[0, 100000]]"
        assert store._db.execute("SELECT count(*) FROM cases").fetchone()[0] == 0


def test_cases_that_reached_something_new_are_all_kept(tmp_path: Path) -> None:
    with Store(tmp_path, CAMPAIGN) as store:
        assert store.reached == frozenset()
        batch = Batch(rules=Counter({"Step_pure/nop": 1}), instructions=Counter({"nop": 2}), counters=Counter(cases=3))
        batch.samples += [Sample(REACHED, n, CASE, {}) for n in range(SAMPLES + 5)]
        store.record(batch)
        assert store.reached == {"Step_pure/nop", "nop"}
    assert len(load(tmp_path).samples) == SAMPLES + 5
