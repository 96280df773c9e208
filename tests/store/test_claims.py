"""Claims keep runs and attempts out of each other's shards."""

import json
import os
import subprocess
import sys
import threading

import pytest

from sweetgrad.store import ClaimedError, FencedError, claim_shard, plan_shards, verify, write_shard
from sweetgrad.store import claims as claims_module
from sweetgrad.store.claims import LEASE_S, Holder, claims, exclusively, find_expired

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
    with claim_shard(store, toy.spec().profile_name, 1, run="ours") as claim:
        assert claim.key == KEY
        assert [str(holder.pid) for holder in claims(store, toy.spec().profile_name).values()] == [str(os.getpid())]
    assert list((store / KEY).parent.iterdir()) == []


def test_claim_shard__tells_whether_an_earlier_attempt_held_it(store, toy):
    name = toy.spec().profile_name
    with claim_shard(store, name, 1, run="ours") as first, claim_shard(store, name, 1, run="ours") as second:
        assert (first.is_again, second.is_again) == (False, True)
    put(store, elsewhere())
    with claim_shard(store, name, 1, run="ours", expired=frozenset(_attempts(store))) as third:
        assert not third.is_again


def _attempts(store):
    return [holder.attempt for holder in claims(store, "toy/synthetic/bs2-seed0").values()]


def test_claims__pass_over_files_that_nobody_of_us_wrote(store, toy):
    put(store, elsewhere())
    for name in ("x.json", "-1.json", "1.5.json", "²".join(["", ".json"])):
        (store / KEY).with_name(name).write_text("{}")
    assert list(claims(store, toy.spec().profile_name)) == [KEY]
    assert [problem.shard for problem in verify(store)] == [1]


def test_claim_shard__refuses_another_run_and_says_who_holds_it(store, toy):
    name = toy.spec().profile_name
    with (
        claim_shard(store, name, 1, run="ours"),
        pytest.raises(ClaimedError, match=rf"1\.json is held by process {os.getpid()} on .*, since 20"),
        claim_shard(store, name, 1, run="theirs"),
    ):
        pass
    with claim_shard(store, name, 1, run="theirs"), claim_shard(store, name, 2, run="ours"):
        pass


def test_claim_shard__a_new_attempt_of_the_same_run_fences_the_old_one_off(store, toy):
    name = toy.spec().profile_name
    (shard,) = [shard for shard in plan_shards(store, name, range(10)) if shard.index == 1]
    with claim_shard(store, name, 1, run="ours") as old:
        with claim_shard(store, name, 1, run="ours") as new:
            with pytest.raises(FencedError, match=r"this attempt .* was thought dead and writes nothing more"):
                write_shard(store, name, shard, toy.rows(shard.rows[:1]), claim=old)
            write_shard(store, name, shard, toy.rows(shard.rows), claim=new)
        assert claims(store, name) == {}
        with pytest.raises(FencedError, match="nobody any more"):
            old.require()
    assert [problem.what for problem in verify(store)] == []
    assert plan_shards(store, name, shard.rows) == []


class FencedAfter:
    """A claim that is taken over after some writes."""

    def __init__(self, num_writes: int) -> None:
        self.left = num_writes

    def require(self) -> None:
        if self.left == 0:
            raise FencedError("taken over")
        self.left -= 1


@pytest.mark.parametrize("num_writes", range(11))
def test_write_shard__rows_of_a_fenced_attempt_do_not_count_wherever_it_was_stopped(store, toy, num_writes):
    name = toy.spec().profile_name
    (shard,) = [shard for shard in plan_shards(store, name, range(10)) if shard.index == 1]
    with pytest.raises(FencedError):
        write_shard(store, name, shard, toy.rows(shard.rows), claim=FencedAfter(num_writes))
    assert [shard.index for shard in plan_shards(store, name, range(10))] == [1, 2]
    assert verify(store) == []


def test_claim_shard__takes_over_from_a_process_that_was_killed(store, toy):
    name = toy.spec().profile_name
    code = f"""
import os, signal
from sweetgrad.store import claim_shard
with claim_shard({str(store)!r}, {name!r}, 1, run="theirs"):
    os.kill(os.getpid(), signal.SIGKILL)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -9
    assert (store / KEY).exists()
    with claim_shard(store, name, 1, run="ours") as claim:
        claim.require()


def test_claim_shard__a_process_number_used_again_is_no_sign_of_life(store, toy):
    put(store, Holder(run="theirs", process=f"{os.getpid()} 17"))
    with claim_shard(store, toy.spec().profile_name, 1, run="ours") as claim:
        claim.require()


def test_find_expired__another_machine_is_dead_when_its_lease_is_over(store, toy, monkeypatch):
    name, now = toy.spec().profile_name, [1000.0]
    monkeypatch.setattr(claims_module.time, "monotonic", lambda: now[0])
    holder, seen = elsewhere(), {}
    put(store, holder)
    with pytest.raises(ClaimedError, match="process 1 on node7"), claim_shard(store, name, 1, run="ours"):
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
    with claim_shard(store, name, 1, run="ours", expired=expired) as claim:
        claim.require()


def test_claim_shard__gives_signs_of_life(store, toy, monkeypatch):
    monkeypatch.setattr(claims_module, "_BEAT_EVERY_S", 0.01)
    with claim_shard(store, toy.spec().profile_name, 1, run="ours") as claim:
        beat = store / KEY.replace(".json", f".{claim.holder.attempt}.beat")
        deadline = claims_module.time.monotonic() + 10
        while not (beat.exists() and beat.read_text() not in ("", "0")):
            assert claims_module.time.monotonic() < deadline


def test_claim_shard__an_attempt_that_was_fenced_off_leaves_no_sign_of_life(store, toy, monkeypatch):
    monkeypatch.setattr(claims_module, "_BEAT_EVERY_S", 0.01)
    name = toy.spec().profile_name
    with claim_shard(store, name, 1, run="ours") as old:
        beat = store / KEY.replace(".json", f".{old.holder.attempt}.beat")
        with claim_shard(store, name, 1, run="ours"):
            deadline = claims_module.time.monotonic() + 10
            while not beat.exists():  # the successor deleted it, and the old attempt beats on
                assert claims_module.time.monotonic() < deadline
    assert list(beat.parent.iterdir()) == []


def test_claim_shard__an_unreadable_claim_holds_off_until_its_lease_is_over(store, toy):
    (store / KEY).parent.mkdir(parents=True)
    (store / KEY).write_text("{")
    with (
        pytest.raises(ClaimedError, match="an unknown machine"),
        claim_shard(store, toy.spec().profile_name, 1, run="o"),
    ):
        pass


def test_exclusively__is_one_at_a_time(tmp_path):
    inside, most, total = [0], [0], [0]

    def work():
        for _ in range(5):
            with exclusively(tmp_path / "s.zarr"):
                inside[0] += 1
                most[0] = max(most[0], inside[0])
                total[0] += 1
                inside[0] -= 1

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (most, total) == ([1], [20])
    assert list((tmp_path / "s.zarr").iterdir()) == []


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
