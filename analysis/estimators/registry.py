"""Estimators that are derived from what a profile holds: plain functions of a Dataset, by name."""

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from types import MappingProxyType

import numpy as np
import xarray as xr

from sweetgrad.store import STATUS, Location, Profile
from sweetgrad.store.format.blocks import is_block

ENTRY_POINTS = "sweetgrad.derived_estimators"
"""Entry-point group in which other packages register theirs."""


@dataclass(frozen=True)
class Figure:
    """Rank correlations with accuracy that were published for an estimator, and over which architectures.

    Attributes
    ----------
    spearman, kendall
        In [-1, 1]; NaN where none was published.
    population
        The architectures, such as ``all 15,625``, and which accuracy if it is not that of the test set; figures of other
        populations must not be compared.
    source
        Who published them.
    """

    spearman: float = np.nan
    kendall: float = np.nan
    population: str = ""
    source: str = ""


Published = Mapping[tuple[str, str], Figure]
"""Published figures by search space and data set."""


@dataclass(frozen=True)
class DerivedEstimator:
    """An estimator that is derived from the blocks of a profile; it is called like the function itself.

    Attributes
    ----------
    name
        Name of the function.
    function
        From the Dataset of `open_statistics` to its scores, dims ``(arch,)``, NaN where there are none.
    needs
        Blocks that it reads; ``counts`` stands for the counts, and for an estimator that needs their pass.
    formula
        What it computes, in plain text.
    source
        Who published it.
    sign
        1 if greater is better, -1 if smaller is.
    published
        Published rank correlations by (space, data set).
    is_relative
        Whether a score depends on the architectures beside it, because it consists of ranks.
    """

    name: str
    function: Callable[[xr.Dataset], xr.DataArray]
    needs: tuple[str, ...]
    formula: str
    source: str
    sign: int = 1
    published: Published = field(default_factory=dict)
    is_relative: bool = False

    def __call__(self, data: xr.Dataset) -> xr.DataArray:
        """Scores, dims ``(arch,)``, float64; NaN for an architecture that lacks a block.

        Raises
        ------
        KeyError
            If ``data`` has no such block.
        """
        measured = np.logical_and.reduce([data[status_of(block)].values == STATUS["ok"] for block in self.needs])
        kept = data.isel(arch=np.flatnonzero(measured)) if self.is_relative else data
        if self.is_relative and measured.sum() < 2:
            return xr.DataArray(np.full(data.sizes["arch"], np.nan), {"arch": data["arch"]}, ("arch",), name=self.name)
        with np.errstate(divide="ignore", invalid="ignore"):
            scores = self.function(kept).astype(np.float64)
        values = np.full(data.sizes["arch"], np.nan)
        values[measured] = scores.values if self.is_relative else scores.values[measured]
        return xr.DataArray(values, {"arch": data["arch"]}, ("arch",), name=self.name, attrs=scores.attrs)

    def seconds(self, data: xr.Dataset) -> xr.DataArray:
        """Wall time of an architecture: of the blocks, and of the pass if it is needed; dims ``(arch,)``."""
        times = [data["profile_seconds" if block == "counts" else f"{block}_seconds"] for block in self.needs]
        total: xr.DataArray = sum((time.astype(np.float64) for time in times[1:]), times[0].astype(np.float64))
        return total.reset_coords(drop=True).rename("seconds")


def status_of(block: str) -> str:
    """Name of the status of a block in the Dataset of `open_statistics`."""
    return "status" if block == "counts" else f"{block}_status"


def derived(
    *,
    needs: Sequence[str],
    formula: str,
    source: str,
    sign: int = 1,
    published: Published = MappingProxyType({}),
    is_relative: bool = False,
) -> Callable[[Callable[[xr.Dataset], xr.DataArray]], DerivedEstimator]:
    """Decorate a function of a Dataset as an estimator; the arguments are attributes of `DerivedEstimator`.

    Examples
    --------
    >>> @derived(needs=["tensor_sums"], formula="sum of squared weights", source="an example")
    ... def squared_weights(data):
    ...     return data.tensor_weight_sq_sum.sum("tensor")
    >>> squared_weights.name, squared_weights.needs
    ('squared_weights', ('tensor_sums',))
    """

    def make(function: Callable[[xr.Dataset], xr.DataArray]) -> DerivedEstimator:
        made = DerivedEstimator(
            function.__name__, function, tuple(needs), formula, source, sign, dict(published), is_relative
        )
        object.__setattr__(made, "__doc__", inspect.getdoc(function) or f"{formula}; {source}")
        return made

    return make


def open_statistics(location: Location, name: str | None = None, *, blocks: Iterable[str] | None = None) -> xr.Dataset:
    """A profile and its blocks in one Dataset, for derived estimators.

    Parameters
    ----------
    location, name
        As in `open_profile`.
    blocks
        Blocks of statistics to read into memory (30 MB for all of NAS-Bench-201's on the disk, about 200 MB in memory); None: all
        that the profile has.

    Returns
    -------
    The variables of the profile, lazy, and those of the blocks, with ``<block>_seconds``, ``<block>_message`` and
    ``<block>_status`` for each of them.

    Raises
    ------
    NotAStoreError
        If there is no such profile, or it lacks one of the blocks.
    """
    profile = Profile.open(location, name)
    data = profile.dataset()
    for block in [each.name for each in profile.blocks() if is_block(each)] if blocks is None else blocks:
        statistics = profile.block(block).load()
        own_names = {key: f"{block}_{key}" for key in ("seconds", "message", "status")}
        data = data.assign(statistics.rename(own_names).data_vars).assign_coords(
            {key: coord for key, coord in statistics.coords.items() if key not in data.coords}
        )
    return data


def available(data: xr.Dataset, estimators: Mapping[str, DerivedEstimator]) -> list[DerivedEstimator]:
    """Estimators whose blocks a Dataset has."""
    return [
        estimator for estimator in estimators.values() if all(status_of(block) in data for block in estimator.needs)
    ]


def registered_by_others() -> dict[str, DerivedEstimator]:
    """Estimators of other packages, by the name of their entry point.

    Raises
    ------
    ValueError
        If one cannot be imported, or is not a `DerivedEstimator`.
    """
    estimators = {}
    for entry in entry_points(group=ENTRY_POINTS):
        try:
            loaded = entry.load()
        except (ImportError, AttributeError) as error:
            raise ValueError(
                f"derived estimator {entry.name!r} ({entry.value}) cannot be imported: {error}. Repair or remove the package "
                "that registers it"
            ) from error
        if not isinstance(loaded, DerivedEstimator):
            raise ValueError(
                f"derived estimator {entry.name!r} ({entry.value}) must be a function decorated with derived(…), got "
                f"{type(loaded).__name__}"
            )
        estimators[entry.name] = loaded
    return estimators
