"""Small profiles in memory, an obvious twin that counts them bin by bin, and a store that reports are made of."""

import re
from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr
import zarr

from sweetgrad.store import (
    COUNTS,
    EDGES,
    LAYER_TYPES,
    NUM_BINS,
    Profile,
    ProfileSpec,
    create_profile,
    empty_rows,
    import_accuracy,
    profile_block,
)
from tests._scores import split_scores

HOSTILE = "<img src=http://127.0.0.1/x onerror=alert(1)> $\\frac{$ & 'quoted'"
"""Text as it could come with somebody's store: HTML that would load something, and mathematics that does not parse."""


def make_profile(
    num_archs: int = 4,
    layers: Sequence[str] = ("stem", "cell", "cell", "reduction", "cell", "head"),
    *,
    status: Sequence[int] | None = None,
    seed: int = 0,
    top: int = 9,
) -> xr.Dataset:
    """A profile with random counts; one layer type a layer, all rows measured unless ``status`` says otherwise."""
    random = np.random.RandomState(seed)
    arch = [f"a{i}" for i in range(num_archs)]
    rows = empty_rows(arch, range(num_archs), layers=[f"{name}{i}" for i, name in enumerate(layers)])
    rows.status[:] = 1 if status is None else status
    ran = (rows.status.values != 0)[:, None, None, None]
    rows.grad_count[:] = random.randint(0, top, rows.grad_count.shape) * ran
    rows.layer_type[:] = np.array([LAYER_TYPES[name] for name in layers]) * ran[:, :, 0, 0]
    rows.loss[:] = random.normal(2.3, 0.1, num_archs)
    return complete(rows)


def complete(rows: xr.Dataset) -> xr.Dataset:
    """Fill in what follows from ``grad_count``."""
    rows.grad_count_network[:] = rows.grad_count.sum("layer").values
    rows.num_params[:] = rows.grad_count.sum("bin").values
    return rows


def literal_count(histogram: np.ndarray, lower: Fraction, upper: Fraction | float) -> int:
    """Sum of one histogram's bins inside ``[lower, upper)``, bin by bin, by their rational edges."""
    total = 0
    for bin_ in range(NUM_BINS - 1):  # the last bin holds what is not finite: in no interval
        if bin_ == 0:
            inside = lower == 0
        else:
            start = Fraction(0) if bin_ == 1 else EDGES[bin_ - 2]
            inside = lower <= start < upper
        total += int(histogram[bin_]) * inside
    return total


@pytest.fixture
def profile() -> xr.Dataset:
    return make_profile()


@pytest.fixture(name="make_profile", scope="session")
def make_profile_fixture() -> Callable[..., xr.Dataset]:
    return make_profile


@pytest.fixture(name="complete", scope="session")
def complete_fixture() -> Callable[[xr.Dataset], xr.Dataset]:
    return complete


@pytest.fixture(name="literal_count")
def literal_count_fixture() -> Callable[..., int]:
    return literal_count


def write_profile(path: Path, spec: ProfileSpec, rows: xr.Dataset, *, num_measured: int | None = None) -> str:
    """Write a profile into a store, of which the first so many rows (all by default) are measured; returns its name."""
    archs = rows.arch.values.tolist()
    name = create_profile(path, spec, arch=archs, layers=rows.layer.values.tolist()).name
    (shard,) = Profile.open(path, name).plan(range(len(archs) if num_measured is None else num_measured))
    Profile.open(path, name).write(shard, {COUNTS: rows.isel(arch=list(shard.rows))})
    Profile.open(path, name).finalise()
    return name


@pytest.fixture(name="write_profile", scope="session")
def write_profile_fixture() -> Callable[..., str]:
    return write_profile


def make_store(path: Path) -> Path:
    """Three profiles of one space: two batch sizes, two seeds; 12 architectures of which one failed and two were not run."""
    names = [f"arch{i}" for i in range(12)]
    digest = sha256("".join(f"{name}\n" for name in names).encode()).hexdigest()
    for number, (batch_size, seed) in enumerate(((64, 0), (64, 1), (128, 0))):
        profile = make_profile(12, status=[1] * 5 + [2] + [1] * 4 + [0] * 2, seed=number)
        # A batch of its own for every setting, as it is in truth.
        spec = ProfileSpec(
            space="toy",
            dataset="digits",
            batch_size=batch_size,
            seed=seed,
            num_classes=10,
            input_shape=(3, 32, 32),
            batch_sha256=str(number) * 64,
            arch_sha256=digest,
        )
        layers = ["stem", HOSTILE, *profile.layer.values.tolist()[2:]]
        profile = profile.assign_coords(arch=names, layer=layers)
        profile.message.values[5] = f"ValueError: {HOSTILE}"
        name = create_profile(path, spec, arch=names, layers=layers, shard_size=12).name
        Profile.open(path, name).record_run({"git_commit": "c0ffee", "note": HOSTILE})
        (shard,) = Profile.open(path, name).plan(range(10))
        Profile.open(path, name).write(shard, {COUNTS: profile.isel(arch=list(shard.rows))})
        Profile.open(path, name).add_blocks([profile_block("snip")])
        columns = {"score": np.arange(10.0), "seconds": np.full(10, 0.5, "float32"), "message": np.full(10, "", object)}
        columns["status"] = np.ones(10, "uint8")
        scores = xr.Dataset({key: (("arch", "estimator"), value[:, None]) for key, value in columns.items()})
        coords = {"arch": names[:10], "arch_index": ("arch", np.arange(10)), "estimator": ["snip"]}
        Profile.open(path, name).write(shard, split_scores(scores.assign_coords(coords)))
        Profile.open(path, name).finalise()
    accuracy = np.random.RandomState(1).uniform(10, 95, len(names))
    table = pd.DataFrame({"arch": names, "dataset": "digits", "split": "test", "epochs": 200, "accuracy": accuracy})
    import_accuracy(path, space="toy", table=table, source="made up")
    zarr.open_group(path, mode="r+", use_consolidated=False).attrs["title"] = HOSTILE
    Profile.open(path, name).finalise()
    return path


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_store(tmp_path_factory.mktemp("figures") / "toy.zarr")


@pytest.fixture(name="make_store", scope="session")
def make_store_fixture() -> Callable[[Path], Path]:
    return make_store


@pytest.fixture(scope="session")
def hostile() -> str:
    return HOSTILE


def value_of(label: str) -> float:
    """The number that a tick label says, such as ``1.5%``, ``20k``, ``$10^{-2}$`` or ``$\\mathdefault{2\\times10^{3}}$``."""
    text = label.replace("\N{MINUS SIGN}", "-").replace("\\mathdefault", "").replace(",", "")
    power = re.fullmatch(r"\$\{?(?:([-\d.]+)\\times)?(-?10)\^\{(-?\d+)\}\}?\$", text)
    if power:
        return float(power[1] or 1) * float(power[2]) ** int(power[3])
    text = text.strip("${}")
    unit = {"%": 0.01, "k": 1e3, "M": 1e6, "G": 1e9}.get(text[-1:], 1.0)
    return float(text if unit == 1.0 else text[:-1]) * unit


def check_ticks(figure: Any) -> int:
    """Assert that every label of an axis of numbers says where its tick stands; returns the number of such axes."""
    figure.draw_without_rendering()
    checked = 0
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            # `set_ticks` with labels leaves a formatter that looks up names by place.
            has_names = isinstance(getattr(axis.get_major_formatter(), "func", None), partial)
            if has_names or not (axes.get_visible() and axes.axison):
                continue
            assert not axis.get_offset_text().get_text(), "a part of the value stands beside the axis"
            low, high = sorted(axis.get_view_interval())
            shown = [
                (tick.get_loc(), tick.label1.get_text())
                for tick in (*axis.get_major_ticks(), *axis.get_minor_ticks())
                if tick.label1.get_text() and low <= tick.get_loc() <= high
            ]
            for place, label in shown:
                step = place if axis.get_scale() == "log" else (high - low) / len(shown)
                assert abs(value_of(label) - place) <= 0.01 * step, f"{label!r} stands at {place}"
            checked += bool(shown)
    return checked


@pytest.fixture(name="check_ticks", scope="session")
def check_ticks_fixture() -> Callable[[Any], int]:
    return check_ticks


@pytest.fixture(name="value_of", scope="session")
def value_of_fixture() -> Callable[[str], float]:
    return value_of
