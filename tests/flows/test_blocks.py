"""``--blocks``: chosen by name, added later, measured once, and ranked without a network."""

import io
import re

import numpy as np
import pytest
import zarr
from rich.console import Console

from sweetgrad.analysis import derived_estimators, open_statistics
from sweetgrad.flows import estimate, profile
from sweetgrad.flows.inputs import select_blocks
from sweetgrad.store import Profile, SpecMismatchError, info, open_block, verify

NAME = "nas-bench-201/digits/bs4-seed42"
SETTINGS = {"dataset": "digits", "batch_size": 4, "device": "cpu", "workers": 1, "archs": "7800:7802"}


def quiet():
    return Console(file=io.StringIO(), width=200)


def digests(store, block):
    profile = Profile.open(store, NAME)
    declared = next(each for each in profile.blocks() if each.path == f"blocks/{block}")
    return profile.column(declared, "digest")[7800:7802].tolist()


def test_profile__measures_each_block_once(tmp_path, prefect_api, worker_in_this_process):
    store = tmp_path / "s.zarr"
    profile(store, blocks=["counts", "tensor_sums"], console=quiet(), **SETTINGS)
    assert [block.name for block in info(store, NAME).profiles[0].blocks] == ["tensor_sums"]
    first = open_block(store, NAME, "tensor_sums").load()

    summary = profile(store, blocks=["all"], console=quiet(), **SETTINGS)
    assert (summary.num_done, summary.num_failed) == (2, 0)
    assert {block.name for block in info(store, NAME).profiles[0].blocks} == set(select_blocks(["all"]))
    again = open_block(store, NAME, "tensor_sums").load()
    assert again.identical(first)  # the seconds too: it was not measured again
    assert profile(store, blocks=["all"], console=quiet(), **SETTINGS).num_done == 0
    assert verify(store) == []

    alone = tmp_path / "alone.zarr"
    profile(alone, console=quiet(), **SETTINGS)
    estimate(alone, NAME, blocks=["noise_pass", "second_batch"], console=quiet())
    for block in (
        "noise_pass",
        "second_batch",
    ):  # measured after the counts, without the others, the numbers are the same
        assert digests(alone, block) == digests(store, block)

    scores = derived_estimators()["az_nas"](open_statistics(store, NAME))
    assert np.isfinite(scores.values[7800:7802]).all()
    assert np.isnan(scores.values).sum() == 15_625 - 2


def test_profile__never_mixes_blocks_that_were_measured_with_other_settings(
    tmp_path, prefect_api, worker_in_this_process
):
    store = tmp_path / "s.zarr"
    profile(store, blocks=["noise_image"], console=quiet(), **SETTINGS)
    group = zarr.open_group(store, mode="r+", use_consolidated=False)[f"{NAME}/blocks/noise_image"]
    group.attrs["settings"] = {**group.attrs["settings"], "image_size": 32}
    with pytest.raises(SpecMismatchError, match="image_size: stored 32, requested 64"):
        profile(store, blocks=["noise_image"], console=quiet(), **SETTINGS)


@pytest.mark.parametrize(
    ("blocks", "message"),
    [
        (["tensor_sum"], "no block named 'tensor_sum'. Did you mean 'tensor_sums'?"),
        (["ALL"], "no block named 'ALL'."),
        (["snip"], "no block named 'snip'."),
    ],
)
def test_profile__names_the_nearest_block_and_writes_nothing(blocks, message, tmp_path):
    with pytest.raises(ValueError, match=re.escape(message)):
        profile(tmp_path / "s.zarr", blocks=blocks, console=quiet(), **SETTINGS)
    assert not (tmp_path / "s.zarr").exists()
