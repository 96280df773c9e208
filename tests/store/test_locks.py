"""Locks keep runs and attempts out of each other's shards, and of what all of them share."""

import asyncio
import json
import os
import random
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import pytest
from zarr.storage import LocalStore, WrapperStore

from sweetgrad.store import COUNTS, FencedError, LockedError, Profile, StoreError, lock_shard, locks, verify
from sweetgrad.store.locks import LEASE_S, Holder, LeaseWatch, find_expired, list_locks, lock_store

KEY = "toy/synthetic/bs2-seed0/status/claims/1.json"


@pytest.fixture
def store(toy, tmp_path):
    location = tmp_path / "toy.zarr"
    toy.store(location, rows=range(4))
    return location


def elsewhere(**changes):
    """A holder on another machine, whose process nobody here can look at."""
    return Holder(run="theirs", host="node7", pid=1, machine="another boot", process="1 1", **changes)


def put(store, holder, *, beat="0"):
    path = store / KEY
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(holder.__dict__))
    path.with_name(f"1.{holder.attempt}.beat").write_text(beat)


def test_claim_shard__is_gone_when_it_is_given_back(store, toy):
    with lock_shard(store, toy.spec().profile_name, 1, run="ours") as lock:
        assert lock.key == KEY
        assert [str(holder.pid) for holder in list_locks(store, toy.spec().profile_name).values()] == [str(os.getpid())]
    assert list((store / KEY).parent.iterdir()) == []


def test_claim_shard__tells_whether_an_earlier_attempt_held_it(store, toy):
    name = toy.spec().profile_name
    with lock_shard(store, name, 1, run="ours") as first, lock_shard(store, name, 1, run="ours") as second:
        assert (first.is_again, second.is_again) == (False, True)
    put(store, elsewhere())
    with lock_shard(store, name, 1, run="ours", expired=frozenset(_attempts(store))) as third:
        assert not third.is_again


def _attempts(store):
    return [holder.attempt for holder in list_locks(store, "toy/synthetic/bs2-seed0").values()]


def test_claims__pass_over_files_that_nobody_of_us_wrote(store, toy):
    put(store, elsewhere())
    for name in ("x.json", "-1.json", "1.5.json", "²".join(["", ".json"])):
        (store / KEY).with_name(name).write_text("{}")
    assert list(list_locks(store, toy.spec().profile_name)) == [KEY]
    assert [problem.shard for problem in verify(store)] == [1]


def test_claim_shard__refuses_another_run_and_says_who_holds_it(store, toy):
    name = toy.spec().profile_name
    with (
        lock_shard(store, name, 1, run="ours"),
        pytest.raises(LockedError, match=rf"1\.json is held by process {os.getpid()} on .*, since 20"),
        lock_shard(store, name, 1, run="theirs"),
    ):
        pass
    with lock_shard(store, name, 1, run="theirs"), lock_shard(store, name, 2, run="ours"):
        pass


def test_claim_shard__a_new_attempt_of_the_same_run_fences_the_old_one_off(store, toy):
    name = toy.spec().profile_name
    (shard,) = [shard for shard in Profile.open(store, name).plan(range(10)) if shard.index == 1]
    with lock_shard(store, name, 1, run="ours") as old:
        with lock_shard(store, name, 1, run="ours") as new:
            with pytest.raises(FencedError, match=r"this attempt .* was taken for dead and writes nothing more"):
                Profile.open(store, name).write(shard, {COUNTS: toy.rows(shard.rows[:1])}, lock=old)
            Profile.open(store, name).write(shard, {COUNTS: toy.rows(shard.rows)}, lock=new)
        assert list_locks(store, name) == {}
        with pytest.raises(FencedError, match="taken over by another process"):
            old.require()
    assert [problem.what for problem in verify(store)] == []
    assert Profile.open(store, name).plan(shard.rows) == []


class FencedAfter:
    """A lock that is taken over after some writes."""

    def __init__(self, num_writes: int) -> None:
        self.left = num_writes

    def require(self) -> None:
        if self.left == 0:
            raise FencedError("taken over")
        self.left -= 1


@pytest.mark.parametrize("num_writes", range(11))
def test_write_shard__rows_of_a_fenced_attempt_do_not_count_wherever_it_was_stopped(store, toy, num_writes):
    name = toy.spec().profile_name
    (shard,) = [shard for shard in Profile.open(store, name).plan(range(10)) if shard.index == 1]
    with pytest.raises(FencedError):
        Profile.open(store, name).write(shard, {COUNTS: toy.rows(shard.rows)}, lock=FencedAfter(num_writes))
    assert [shard.index for shard in Profile.open(store, name).plan(range(10))] == [1, 2]
    assert verify(store) == []


def test_claim_shard__takes_over_from_a_process_that_was_killed(store, toy):
    name = toy.spec().profile_name
    code = f"""
import os, signal
from sweetgrad.store import lock_shard
with lock_shard({str(store)!r}, {name!r}, 1, run="theirs"):
    os.kill(os.getpid(), signal.SIGKILL)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -9
    assert (store / KEY).exists()
    with lock_shard(store, name, 1, run="ours") as lock:
        lock.require()


def test_claim_shard__a_process_number_used_again_is_no_sign_of_life(store, toy):
    name = toy.spec().profile_name
    put(store, Holder(run="theirs", process=f"{os.getpid()} 17"))
    with lock_shard(store, name, 1, run="ours") as lock:
        lock.require()
        assert list_locks(store, name) == {KEY: lock.holder}
        assert lock.holder.run == "ours"


def test_find_expired__another_machine_is_dead_when_its_lease_is_over(store, toy, monkeypatch):
    name, now = toy.spec().profile_name, [1000.0]
    monkeypatch.setattr(locks.time, "monotonic", lambda: now[0])
    holder, seen = elsewhere(), LeaseWatch()
    put(store, holder)
    with pytest.raises(LockedError, match="process 1 on node7"), lock_shard(store, name, 1, run="ours"):
        pass
    assert find_expired(store, name, seen) == frozenset()
    now[0] += LEASE_S - 1
    assert find_expired(store, name, seen) == frozenset()
    put(store, holder, beat="1")  # a sign of life starts the lease anew
    now[0] += 2
    assert find_expired(store, name, seen) == frozenset()
    now[0] += LEASE_S + 1
    expired = find_expired(store, name, seen)
    assert expired == {holder.attempt}
    with lock_shard(store, name, 1, run="ours", expired=expired) as lock:
        lock.require()


def test_claim_shard__gives_signs_of_life(store, toy, monkeypatch):
    monkeypatch.setattr(locks, "LEASE_S", 0.04)
    with lock_shard(store, toy.spec().profile_name, 1, run="ours") as lock:
        beat = store / KEY.replace(".json", f".{lock.holder.attempt}.beat")
        deadline = locks.time.monotonic() + 10
        while not (beat.exists() and beat.read_text() not in ("", "0")):
            assert locks.time.monotonic() < deadline


def test_claim_shard__an_attempt_that_was_fenced_off_leaves_no_sign_of_life(store, toy, monkeypatch):
    monkeypatch.setattr(locks, "LEASE_S", 0.04)
    name = toy.spec().profile_name
    with lock_shard(store, name, 1, run="ours") as old:
        beat = store / KEY.replace(".json", f".{old.holder.attempt}.beat")
        with lock_shard(store, name, 1, run="ours"):
            deadline = locks.time.monotonic() + 10
            while not beat.exists():  # the successor deleted it, and the old attempt beats on
                assert locks.time.monotonic() < deadline
    assert list(beat.parent.iterdir()) == []


NOT_OURS = {
    "no JSON": b"{",
    "empty": b"",
    "a list": b"[]",
    "markup": {"host": "[/bold]"},
    "markup in the time": {"since": "[/red] 2026-01-01"},
    "a list as attempt": {"attempt": [1]},
    "a path as attempt": {"attempt": "../../../../outside"},
    "a host with an escape": {"host": "node\x1b[2J"},
    "a text as number": {"pid": "1"},
    "a number of a process that cannot be": {"pid": 1 << 70},
    "deep": b"[" * 100_000,
    "large": b" " * (1 << 20) + b"{}",
    "too large to be read": b" " * (200 << 20),
}


@pytest.mark.parametrize("what", NOT_OURS)
def test_claim_shard__a_file_that_nobody_of_us_wrote_holds_off_until_its_lease_is_over(
    store, toy, tmp_path, monkeypatch, what
):
    name, content, now = toy.spec().profile_name, NOT_OURS[what], [1000.0]
    monkeypatch.setattr(locks.time, "monotonic", lambda: now[0])
    (store / KEY).parent.mkdir(parents=True)
    data = content if isinstance(content, bytes) else json.dumps({**elsewhere().__dict__, **content}).encode()
    (store / KEY).write_bytes(data)
    with (
        pytest.raises(LockedError, match=r"held by a process on an unknown machine \(its lock file cannot be read\)"),
        lock_shard(store, name, 1, run="o"),
    ):
        pass
    watch = LeaseWatch()
    assert find_expired(store, name, watch) == frozenset()
    (problem,) = verify(store)
    assert "unknown machine" in problem.what
    now[0] += LEASE_S + 1
    with lock_shard(store, name, 1, run="o", expired=find_expired(store, name, watch)) as lock:
        lock.require()
    assert list((store / KEY).parent.iterdir()) == []
    assert list(tmp_path.iterdir()) == [store]


def test_find_expired__a_sign_of_life_may_hold_anything(store, toy):
    holder = elsewhere()
    put(store, holder)
    (store / KEY).with_name(f"1.{holder.attempt}.beat").write_bytes(b"\xff\x00")
    assert find_expired(store, toy.spec().profile_name, LeaseWatch()) == frozenset()


@pytest.mark.parametrize("thing", ["folder", "link to nothing"])
def test_claim_shard__says_so_where_no_file_can_be(store, toy, thing):
    (store / KEY).parent.mkdir(parents=True)
    (store / KEY).mkdir() if thing == "folder" else (store / KEY).symlink_to("nothing")
    with (
        pytest.raises(StoreError, match=r"1\.json can be neither created nor read.*delete what is there"),
        lock_shard(store, toy.spec().profile_name, 1, run="o"),
    ):
        pass


def test_lock_store__is_one_at_a_time(tmp_path):
    inside, most, total = [0], [0], [0]

    def work():
        for _ in range(5):
            with lock_store(tmp_path / "s.zarr"):
                inside[0] += 1
                most[0] = max(most[0], inside[0])
                total[0] += 1
                inside[0] -= 1

    in_threads(work, 4)
    assert (most, total) == ([1], [20])
    assert list((tmp_path / "s.zarr").iterdir()) == []


def in_threads(work, number):
    with ThreadPoolExecutor(number) as pool:
        for done in [pool.submit(work) for _ in range(number)]:
            done.result(timeout=60)


def leave_dead_lock(store):
    store.mkdir(parents=True, exist_ok=True)
    (store / "store.claim").write_text(json.dumps(Holder(run="theirs", process="nobody").__dict__))


def test_lock_store__of_three_that_found_a_holder_dead_one_is_admitted_at_a_time(tmp_path, monkeypatch):
    inside, most = [0], [0]
    is_dead, together = Holder.is_dead.fget, threading.Barrier(3)

    def all_see_it(holder):
        with suppress(threading.BrokenBarrierError):
            if is_dead(holder):
                together.wait(timeout=0.2)  # all three have found it dead before one of them does anything
        return is_dead(holder)

    monkeypatch.setattr(Holder, "is_dead", property(all_see_it))
    for number in range(5):
        store = tmp_path / f"{number}.zarr"
        leave_dead_lock(store)
        together.reset()

        def work(store=store):
            with lock_store(store) as lock:
                inside[0] += 1
                most[0] = max(most[0], inside[0])
                time.sleep(0.005)
                lock.require()
                inside[0] -= 1

        in_threads(work, 3)
        assert most == [1]
        assert list(store.iterdir()) == []


class Jittery(WrapperStore[Any]):
    """A store that takes its time, differently for each request, so that steps of several threads interleave."""

    chance = random.Random(0)

    async def get(self, *arguments):
        await self._pause()
        found = await super().get(*arguments)
        await self._pause()
        return found

    async def set_if_not_exists(self, *arguments):
        await self._pause()
        await super().set_if_not_exists(*arguments)
        await self._pause()

    async def delete(self, *arguments):
        await self._pause()
        await super().delete(*arguments)

    async def _pause(self):
        if self.chance.random() < 0.5:
            await asyncio.sleep(self.chance.uniform(0, 0.004))


def test_lock__has_one_holder_however_the_steps_of_its_waiters_and_the_dead_interleave(tmp_path):
    store, dead, inside, overlaps, admitted = Jittery(LocalStore(tmp_path)), set(), [], [], []

    def work():
        for _ in range(12):
            lock = locks._wait(store, "a.json", "run", lambda holder: holder.attempt in dead, refuse=locks._never)
            lock.require()
            overlaps.extend(inside)
            inside.append(lock)
            time.sleep(0.001)
            lock.require()
            admitted.append(lock.holder.attempt)
            inside.remove(lock)
            if len(admitted) % 3 == 0:
                dead.add(lock.holder.attempt)  # with the lock in hand
            else:
                lock.release()

    in_threads(work, 3)
    assert (overlaps, len(admitted), len(set(admitted))) == ([], 36, 36)
    assert len(list(tmp_path.iterdir())) == 1  # of the last, who is dead


def test_lock_store__is_renewed_as_long_as_it_is_held(tmp_path, monkeypatch):
    order, now = [], [1000.0]
    monkeypatch.setattr(locks, "LEASE_S", 0.08)
    monkeypatch.setattr(locks.time, "monotonic", lambda: now[0])  # of who waits; renewing goes by real time

    def wait():
        with lock_store(tmp_path / "s.zarr"):
            order.append("waiter")

    with lock_store(tmp_path / "s.zarr") as lock:
        waiter = threading.Thread(target=wait)
        waiter.start()
        beat, last = tmp_path / "s.zarr" / f"store.{lock.holder.attempt}.beat", None
        for _ in range(20):  # fifteen leases
            while not beat.exists() or beat.read_bytes() in (b"", last):
                time.sleep(0.001)
            last = beat.read_bytes()
            now[0] += 0.06
        lock.require()
        order.append("holder")
    waiter.join()
    assert order == ["holder", "waiter"]


def test_claim_shard__watches_a_holder_on_another_machine_until_it_shows_life_or_is_expired(store, toy, monkeypatch):
    monkeypatch.setattr(locks, "LEASE_S", 0.3)
    name, holder = toy.spec().profile_name, elsewhere()
    put(store, holder)
    with lock_shard(store, name, 1, run="ours", watch=True) as lock:  # it showed no life
        lock.require()
    monkeypatch.setattr(locks, "LEASE_S", 60.0)
    put(store, holder)
    refused = threading.Event()

    def live():
        count = 0
        while not refused.wait(0.01):
            count += 1
            (store / KEY).with_name(f"1.{holder.attempt}.beat").write_text(str(count))

    beating = threading.Thread(target=live)
    beating.start()
    try:
        with pytest.raises(LockedError, match="node7"), lock_shard(store, name, 1, run="ours", watch=True):
            pass
    finally:
        refused.set()
        beating.join()


def test_verify__names_and_deletes_what_an_ended_process_claimed(store, toy):
    put(store, Holder(run="theirs", process="nobody"))
    (problem,) = verify(store, repair=True)
    assert (problem.shard, problem.repairable) == (1, True)
    assert "which has ended" in problem.what
    assert verify(store) == []
    assert not list((store / KEY).parent.iterdir())


def test_verify__leaves_the_claim_of_a_run_that_may_live(store):
    put(store, elsewhere())
    (problem,) = verify(store, repair=True)
    assert not problem.repairable
    assert "process 1 on node7" in problem.what
    assert (store / KEY).exists()


def test_verify__deletes_what_a_kill_in_the_middle_of_a_release_left(store, toy):
    name, attempt = toy.spec().profile_name, "0" * 32
    left = [store / KEY.replace("1.json", f"1.{attempt}.{part}") for part in ("beat", "next")]
    left += [store / f"store.{attempt}.{part}" for part in ("beat", "next")]
    left[0].parent.mkdir(parents=True)
    for path in left:
        path.write_text("{}")
    assert sorted(problem.profile for problem in verify(store, repair=True)) == ["", "", name, name]
    assert not any(path.exists() for path in left)
    assert verify(store) == []


def test_verify__does_not_clear_a_shard_that_a_run_holds(store, toy):
    (store / toy.spec().profile_name / "grad_sq_sum/c/0").joinpath("0/0").unlink()
    before = toy.contents(store)
    put(store, elsewhere())
    (store / KEY).rename(store / KEY.replace("1.json", "0.json"))
    assert any("not repaired" in problem.what for problem in verify(store, repair=True))
    assert {key: data for key, data in toy.contents(store).items() if "claims" not in key} == before
