"""What happens to campaigns whose processes die; `faults.py` is the long version."""

from __future__ import annotations

import os
import random
import signal
from pathlib import Path

import faults
import pytest
import zoo
from test_campaign import campaign, make, plan

from wasmlab import parallel
from wasmlab.campaign import derive
from wasmlab.errors import LabError
from wasmlab.model import Progress
from wasmlab.parallel import DEATHS, LOST, Numbers, hunt
from wasmlab.store import Store, load
from wasmlab_ref.case import Case

NAMES = ("right", "bug/xor-lsb")
FLAG = "WASMLAB_TEST_FLAG"


def deadly_once(seed: int, features: frozenset[str]) -> Case:
    """Kills its process in the middle of the campaign, the first time."""
    flag = Path(os.environ[FLAG])
    if seed == derive(1, 40) and not flag.exists():
        flag.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return make(seed, features)


def deadly(seed: int, features: frozenset[str]) -> Case:
    """One case kills whoever makes it."""
    if seed == derive(1, 40):
        os.kill(os.getpid(), signal.SIGKILL)
    return make(seed, features)


def test_a_process_that_dies_is_replaced_and_its_cases_are_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(FLAG, str(tmp_path / "flag"))
    for folder, function in (("whole", make), ("killed", deadly_once)):
        with Store(tmp_path / folder, campaign(*NAMES)) as store:
            hunt(plan(*NAMES, make=function, examples=100), store, 2, lambda: False)
    killed, whole = load(tmp_path / "killed"), load(tmp_path / "whole")
    assert (tmp_path / "flag").exists()
    assert killed.counters == whole.counters
    assert [(d.id, d.count) for d in killed.divergences] == [(d.id, d.count) for d in whole.divergences]


def test_a_case_that_kills_every_process_is_given_up_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel, "BLOCK", 4)
    with Store(tmp_path, campaign("right", "also")) as store:
        hunt(plan("right", "also", make=deadly, examples=60), store, 2, lambda: False)
    run = load(tmp_path)
    assert run.progress.low == run.cases == 60
    assert run.inconclusive == {LOST: 1}
    assert run.counters["agree"] == 59


def broken(seed: int, features: frozenset[str]) -> Case:
    raise MemoryError("no more")


def dies_at_once(name: str) -> object:
    os._exit(3)


def killed_at_its_start(name: str) -> object:
    """Killed from outside before it said anything, the first time or always."""
    flag = Path(os.environ[FLAG])
    if name == "also" and not flag.exists():
        flag.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return zoo.resolve(name)


def always_killed(name: str) -> object:
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_process_that_is_killed_at_its_start_is_replaced_a_few_times(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(FLAG, str(tmp_path / "flag"))
    monkeypatch.setattr(parallel, "STARTS", 3)
    with Store(tmp_path / "a", campaign("right", "also")) as store:
        hunt(plan("right", "also", resolve=killed_at_its_start, examples=40), store, 2, lambda: False)
    assert load(tmp_path / "a").cases == 40
    with Store(tmp_path / "b", campaign("right", "also")) as store, pytest.raises(LabError, match="at its start"):
        hunt(plan("right", "also", resolve=always_killed), store, 2, lambda: False)


def test_errors_in_a_process_end_the_campaign(tmp_path: Path) -> None:
    with Store(tmp_path / "a", campaign("right", "also")) as store, pytest.raises(MemoryError, match="no more"):
        hunt(plan("right", "also", make=broken), store, 2, lambda: False)
    with Store(tmp_path / "b", campaign("right", "also")) as store, pytest.raises(LabError, match="at its start"):
        hunt(plan("right", "also", resolve=dies_at_once), store, 2, lambda: False)


def test_numbers_are_handed_out_once_unless_they_are_lost() -> None:
    numbers = Numbers(Progress(2, {4, 5}), 10)
    assert numbers.block() == [2, 3, 6, 7, 8, 9]
    assert numbers.block() == numbers.group() == []
    assert not numbers.left
    assert numbers.lost(set()) is None
    assert not numbers.left
    assert numbers.lost({7, 3, 8}) is None
    assert numbers.left
    assert numbers.group() == [3, 7, 8]
    assert numbers.lost({3, 7, 8}, group=True) is None
    assert [numbers.group(), numbers.group(), numbers.group()] == [[3], [7, 8], []]
    for _ in range(DEATHS - 1):
        assert numbers.lost({7}, group=True) is None
        assert numbers.group() == [7]
    assert not Numbers(Progress(), None, deadline=0.0).left
    given_up = numbers.lost({7}, group=True)
    assert given_up is not None
    assert (given_up.done, given_up.inconclusive) == ([7], {LOST: 1})
    assert not numbers.left


def test_a_killed_lab_leaves_no_process_and_goes_on(tmp_path: Path) -> None:
    killed = faults.Campaign(tmp_path / "run", random.Random(1), jobs=1)
    killed.start()
    killed.wait_for(10)
    killed.kill_one("worker")
    killed.wait_for(10)
    killed.kill_one("lab")
    done = load(tmp_path / "run").progress.low
    assert faults.complete(tmp_path / "run", done + 10).cases == done + 10


@pytest.mark.slow
def test_a_campaign_that_is_killed_at_random_finds_the_same(tmp_path: Path) -> None:
    assert faults.random_kills(tmp_path / "run", 8, seed=3)


@pytest.mark.slow
def test_a_full_disk_ends_cleanly(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small file system")
    faults.full_disk(tmp_path / "small")


@pytest.mark.slow
@pytest.mark.engine
def test_an_engine_that_spins_in_compiled_code_ends_with_its_lab() -> None:
    assert faults.spinning("wasmtime") < faults.PATIENCE
