"""A space of another task from the command line's function: profiled, grown, estimated, and refused where it does not fit."""

from pathlib import Path
from typing import Any

import pytest

from sweetgrad.flows import estimate, profile
from sweetgrad.flows.evolution import SearchedSpace
from sweetgrad.profiling import load_space
from sweetgrad.profiling.architectures import task_of
from sweetgrad.store import info, verify

SMALL: dict[str, Any] = {"embedding": 6, "hidden": 8}
SETTINGS: dict[str, Any] = {"space": "nas-bench-nlp", "dataset": "text", "batch_size": 3, "workers": 1}
NAME = "nas-bench-nlp/text/bs3-seed42-e6-h8"


def test_profile__of_language_models_grows_and_takes_blocks(tmp_path: Path) -> None:
    store = tmp_path / "s.zarr"
    profile(store, **SETTINGS, space_options={**SMALL, "num_archs": 2}, blocks=["all"])
    grown = profile(store, **SETTINGS, space_options={**SMALL, "num_archs": 3})
    assert (grown.name, grown.num_done, grown.num_failed) == (NAME, 1, 0)
    found = info(store).profiles[0]
    assert found.spec.task == "language-modelling"
    # What is defined for images alone is left out of all.
    assert {block.name for block in found.blocks} == {"tensor_sums", "second_batch", "per_image"}
    assert verify(store) == []
    # Refused after the space was rebuilt and found to be that of the profile.
    with pytest.raises(ValueError, match="synflow is defined for image classification"):
        estimate(store, NAME, estimators=["synflow"], archs="0:2", workers=1)


def test_profile__refuses_a_data_set_of_another_task(tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match="nas-bench-nlp is for language modelling, but data set digits is of image classification"
    ):
        profile(tmp_path / "s.zarr", **{**SETTINGS, "dataset": "digits"}, space_options={**SMALL, "num_archs": 2})
    assert not (tmp_path / "s.zarr").exists()


def test_searched_space__has_the_task_of_its_space() -> None:
    space = load_space("nas-bench-asr", options={"channels": 300})
    assert task_of(SearchedSpace(space, [])) == "speech-recognition"
