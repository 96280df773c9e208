"""A store of format 1 is read as it is, and brought to format 2 by the first that writes to it."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
import zarr

from sweetgrad.store import (
    CorruptShardError,
    Profile,
    StoreError,
    bin_bounds,
    import_accuracy,
    info,
    lock_shard,
    merge,
    open_accuracies,
    open_activations,
    open_estimators,
    open_moments,
    open_profile,
    open_training,
    profile_block,
    publish,
    verify,
)
from sweetgrad.store import upgrade as upgrading
from sweetgrad.store.access import open_root
from sweetgrad.store.format.digests import row_digests
from sweetgrad.store.root import consolidate
from tests._scores import split_scores

GOLDEN = Path(__file__).resolve().parents[1] / "data" / "format-1.zarr"
GOLDEN_NAME = "toy/synthetic/bs4-seed42"
NAME, TRAINING = "toy/synthetic/bs2-seed0", "toy/training/digits/seed0"


@pytest.fixture
def golden(tmp_path):
    return Path(shutil.copytree(GOLDEN, tmp_path / "golden.zarr"))


@pytest.fixture(scope="module")
def full_of_2(tmp_path_factory, toy):
    path = tmp_path_factory.mktemp("full") / "s.zarr"
    toy.full_store(path)
    return path


@pytest.fixture
def old(full_of_2, tmp_path):
    """A store with everything, as format 1 had it."""
    return as_format_1(Path(shutil.copytree(full_of_2, tmp_path / "old.zarr")))


def as_format_1(store: Path) -> Path:
    """What the version before this one would have written."""
    root = zarr.open_group(store, mode="r+", use_consolidated=False)
    for name in ("bin_lower", "bin_upper"):
        bounds: Any = root[f"{NAME}/{name}"]
        bounds[:] = bounds[:].astype("float32")
    for name in ("snip", "moments"):
        del root[f"{NAME}/estimators/{name}/digest"]
    counts: Any = root[f"{NAME}/estimators/activations/activation_count"]
    archs: Any = root[f"{NAME}/arch"]
    digests: Any = root[f"{NAME}/estimators/activations/digest"]
    digests[:] = row_digests(archs[:], [counts[:]])
    del root["toy/accuracy/digest"], root[f"{TRAINING}/digest"]
    for group in (NAME, TRAINING, *(f"{NAME}/estimators/{name}" for name in ("snip", "moments", "activations"))):
        shutil.rmtree(store / group / "message" / "c")  # all of it was fill values
        path = store / group / "zarr.json"
        document = json.loads(path.read_text())
        document["attributes"].pop("shards_run", None)
        if group != NAME:
            for key in ("complete", "num_ok", "num_failed", "content_digest"):
                document["attributes"].pop(key, None)
        path.write_text(json.dumps(document))
    root.attrs["schema_version"] = 1
    consolidate(root)
    return store


def content(store: Path) -> list[xr.Dataset]:
    """Everything that readers give."""
    return [
        open_profile(store, NAME).load(),
        open_estimators(store, NAME),
        open_activations(store, NAME).load(),
        open_moments(store, NAME).load(),
        open_accuracies(store, "toy"),
        open_training(store, TRAINING).drop_attrs(),
    ]


def same(a: Path, b: Path) -> bool:
    return all(x.equals(y) for x, y in zip(content(a), content(b), strict=True))


def test_format_1__lacks_what_it_lacked(old):
    assert info(old).attributes["schema_version"] == 1
    assert not (old / "toy/accuracy/digest").exists()
    assert verify(old) == []


def test_upgrade__by_the_first_that_writes_gives_the_store_that_format_2_would_have_written(
    old, full_of_2, toy, caplog
):
    Profile.open(old, NAME).record_run({"host": "here"})
    assert [record.message for record in caplog.records] == [f"{old}: upgraded from an older format to format 2"]
    assert info(old).attributes["schema_version"] == 2
    assert verify(old) == []
    assert same(old, full_of_2)
    assert toy.contents(old) == toy.contents(full_of_2)
    Profile.open(old, NAME).record_run({"host": "here"})
    assert len(caplog.records) == 1


@pytest.mark.parametrize(
    "write",
    [
        lambda store: Profile.open(store, NAME).add_blocks([profile_block("fisher")]),
        lambda store: Profile.open(store, NAME).finalise(),
        lambda store: import_accuracy(store, space="toy", table=table(), source="t"),
    ],
    ids=["create_estimators", "finalise_profile", "import_accuracy"],
)
def test_upgrade__is_done_by_whatever_writes(old, write):
    write(old)
    assert info(old).attributes["schema_version"] == 2
    assert verify(old) == []


def table() -> Any:
    import pandas as pd

    return pd.DataFrame({"arch": ["|op0~0|"], "dataset": "x", "split": "test", "epochs": 1, "accuracy": 50.0})


def test_upgrade__of_the_golden_store(golden):
    before = open_profile(golden, GOLDEN_NAME).load(), open_estimators(golden, GOLDEN_NAME)
    digest = info(golden).profiles[0].content_digest
    Profile.open(golden, GOLDEN_NAME).finalise()
    assert verify(golden) == []
    assert before[0].equals(open_profile(golden, GOLDEN_NAME).load())
    assert before[1].identical(open_estimators(golden, GOLDEN_NAME))
    assert info(golden).profiles[0].content_digest == digest
    raw = zarr.open_group(golden, mode="r")[GOLDEN_NAME]
    np.testing.assert_array_equal(raw["bin_lower"][:], bin_bounds()[0])


class CutOffError(Exception):
    """Stands for a kill."""


@pytest.mark.parametrize("k", [0, 2, 9, 22, 30])
def test_upgrade__cut_off_at_any_write_is_read_and_done_again(old, full_of_2, toy, monkeypatch, k):
    writes = [0]
    write = upgrading.write_array

    def counted(*arguments: Any) -> None:
        writes[0] += 1
        if writes[0] > k:
            raise CutOffError
        write(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(upgrading, "write_array", counted)
        try:
            Profile.open(old, NAME).record_run({})
        except CutOffError:
            assert info(old).attributes["schema_version"] == 1
            assert same(old, full_of_2)
    Profile.open(old, NAME).record_run({})
    assert verify(old) == []
    assert toy.contents(old) == toy.contents(full_of_2)


@pytest.mark.parametrize(
    ("array", "chunk"),
    [
        (f"{NAME}/grad_count", "c/1/0/0/0"),
        (f"{NAME}/estimators/snip/score", "c/1"),
        (f"{NAME}/estimators/moments/grad_abs_bin_sum", "c/1/0/0/0"),
        (f"{TRAINING}/accuracy", "c/0/0"),
        ("toy/accuracy/accuracy", "c/0/0/0/0"),
    ],
)
def test_format_1__with_a_lost_file_is_damaged_to_readers_and_is_not_brought_up(old, array, chunk):
    (old / array / chunk).unlink()
    assert any(array.rpartition("/")[2] in problem.what for problem in verify(old))
    with pytest.raises(CorruptShardError, match=chunk):
        [part.load() for part in (*content(old), open_profile(old, NAME)[["grad_count"]])]
    with pytest.raises(CorruptShardError, match=r"(--repair|Delete)"):
        Profile.open(old, NAME).record_run({})
    assert info_version(old) == 1


def info_version(store: Path) -> Any:
    return open_root(store).attrs["schema_version"]


def test_verify__repairs_a_store_of_format_1_and_then_brings_it_up(old, full_of_2, toy):
    (old / NAME / "grad_count/c/1/0/0/0").unlink()
    (old / NAME / "estimators/snip/score/c/2").unlink()
    assert len(verify(old, repair=True)) == 2
    assert info_version(old) == 2
    assert verify(old) == []
    toy.run(old, NAME, range(10))
    for shard in Profile.open(old, NAME).plan(range(10), [profile_block("snip")]):
        Profile.open(old, NAME).write(shard, split_scores(toy.scores(list(shard.rows), ["snip"])))
    Profile.open(old, NAME).finalise()
    assert same(old, full_of_2)


def test_upgrade__refuses_a_value_that_has_not_the_digest_of_format_1(old):
    zarr.open_group(old, mode="r+")[f"{NAME}/estimators/activations/activation_count"][3, 1, 5] = 9
    with pytest.raises(CorruptShardError, match=r"activations, rows 3: .*--repair"):
        Profile.open(old, NAME).record_run({})


def test_upgrade__waits_for_nobody_and_says_who_writes(old):
    with (
        lock_shard(old, NAME, 0, run="of an older version"),
        pytest.raises(StoreError, match=r"is writing to toy/.*Wait"),
    ):
        Profile.open(old, NAME).record_run({})
    assert info_version(old) == 1


@pytest.mark.parametrize("order", [1, -1])
def test_merge__joins_stores_of_both_formats(full_of_2, toy, tmp_path, order):
    whole = tmp_path / "whole.zarr"
    toy.full_store(whole)
    old = as_format_1(Path(shutil.copytree(full_of_2, tmp_path / "old.zarr")))
    merge([old, full_of_2][::order], tmp_path / "both.zarr")
    assert info_version(tmp_path / "both.zarr") == 2
    assert verify(tmp_path / "both.zarr") == []
    assert open_profile(tmp_path / "both.zarr", NAME).load().equals(open_profile(whole, NAME).load())
    assert open_estimators(tmp_path / "both.zarr", NAME).equals(open_estimators(whole, NAME))


def test_merge__names_moments_that_differ_between_formats(full_of_2, tmp_path):
    old = as_format_1(Path(shutil.copytree(full_of_2, tmp_path / "old.zarr")))
    zarr.open_group(old, mode="r+")[f"{NAME}/estimators/moments/grad_abs_bin_sum"][3, 1, 0, 5] = 9
    with pytest.raises(
        StoreError, match=r"estimator moments, row 3: digest [0-9a-f]{16} in .*, digest [0-9a-f]{16} in "
    ):
        merge([full_of_2, old], tmp_path / "both.zarr")


def test_publish__of_a_store_of_format_1_is_a_release_of_format_2(old, full_of_2, tmp_path):
    publish(old, tmp_path / "release", name="nb")
    assert info_version(old) == 1  # the store itself is only read
    assert info_version(tmp_path / "release" / "nb.zarr") == 2
    assert verify(tmp_path / "release") == []
    assert open_estimators(tmp_path / "release" / "nb.zarr", NAME).equals(open_estimators(full_of_2, NAME))
