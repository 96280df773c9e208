"""A store of random counts with several accuracies, its page, and a tab of a browser."""

import importlib.util
import itertools
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from sweetgrad.analysis.explorer import explore
from sweetgrad.store import LAYER_TYPES, Profile, ProfileSpec, import_accuracy, profile_block
from tests._scores import split_scores

if TYPE_CHECKING:
    from tests.analysis.report._browser import Browser

NUM_ARCHS = 130
OPERATIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")


def arch_names() -> list[str]:
    """Strings as those of NAS-Bench-201."""
    cells = itertools.islice(itertools.product(OPERATIONS, repeat=6), 1000, 1000 + NUM_ARCHS)
    return [f"|{a}~0|+|{b}~0|{c}~1|+|{d}~0|{e}~1|{f}~2|" for a, b, c, d, e, f in cells]


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator["Browser"]:
    """A tab of a headless Chromium; the test is skipped where there is none."""
    # Tests run with --import-mode=importlib and cannot import a file of another folder.
    path = Path(__file__).parents[1] / "report" / "_browser.py"
    spec = importlib.util.spec_from_file_location("_browser", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    with module.browser(tmp_path_factory.mktemp("chromium")) as tab:
        yield tab


@pytest.fixture(scope="module")
def explored(
    tmp_path_factory: pytest.TempPathFactory,
    make_profile: Callable[..., xr.Dataset],
    write_profile: Callable[..., str],
    complete: Callable[[xr.Dataset], xr.Dataset],
) -> tuple[Path, str]:
    """A store of 130 architectures, of which some have other layers, no accuracy, or no score; and the name of its profile."""
    path, archs = tmp_path_factory.mktemp("explored") / "s.zarr", arch_names()
    layers = ("stem", "cell", "cell", "reduction", "cell", "cell", "head")
    rows = make_profile(NUM_ARCHS, layers, top=40).assign_coords(arch=archs)
    # Counts with few values, so that scores tie; and shallower networks.
    rows["grad_count"][:, :, :, ::3] = 0
    rows["grad_count"][::4, 4] = 0
    rows["layer_type"][::4, 4] = LAYER_TYPES["stem"]
    rows["grad_count"][::7, 1] = 0
    rows = complete(rows)
    spec = ProfileSpec(
        space="nas-bench-201",
        dataset="digits",
        batch_size=64,
        seed=0,
        num_classes=10,
        input_shape=(3, 32, 32),
        batch_sha256="0" * 64,
        arch_sha256=sha256("".join(f"{name}\n" for name in archs).encode()).hexdigest(),
    )
    name = write_profile(path, spec, rows)
    random = np.random.RandomState(3)
    _add_estimator(path, name, archs, np.where(random.rand(NUM_ARCHS) < 0.1, -np.inf, random.normal(size=NUM_ARCHS)))
    tables = []
    for dataset, split, digits in (("digits", "test", 2), ("digits", "valid", 0), ("cifar10", "test", 1)):
        accuracy = random.uniform(80, 95, NUM_ARCHS).round(digits)
        accuracy[random.rand(NUM_ARCHS) < 0.15] = np.nan
        columns = {"arch": archs, "dataset": dataset, "split": split, "epochs": 200, "accuracy": accuracy}
        tables.append(pd.DataFrame(columns))
    import_accuracy(path, space="nas-bench-201", table=pd.concat(tables, ignore_index=True), source="made up")
    return path, name


def _add_estimator(path: Path, name: str, archs: list[str], scores: np.ndarray[Any, np.dtype[np.float64]]) -> None:
    Profile.open(path, name).add_blocks([profile_block("snip")])
    num = len(archs)
    columns = {"score": scores, "seconds": np.full(num, 0.5, "float32"), "message": np.full(num, "", object)}
    columns["status"] = np.ones(num, "uint8")
    data = xr.Dataset({key: (("arch", "estimator"), value[:, None]) for key, value in columns.items()})
    coords = {"arch": archs, "arch_index": ("arch", np.arange(num)), "estimator": ["snip"]}
    (shard,) = Profile.open(path, name).plan(range(num), [profile_block("snip")])
    Profile.open(path, name).write(shard, split_scores(data.assign_coords(coords)))
    Profile.open(path, name).finalise()


@pytest.fixture(scope="module")
def page(explored: tuple[Path, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of that store."""
    return explore(explored[0], tmp_path_factory.mktemp("explorer") / "explorer.html")
