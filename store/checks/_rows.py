"""What must hold for rows of a profile that are in memory."""

from collections.abc import Iterator

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from sweetgrad.store.format.digests import row_digests
from sweetgrad.store.format.schema import STATUS


def failing_rows(block: xr.Dataset) -> Iterator[tuple[NDArray[np.int64], str]]:
    """Positions in the block that fail a check, and which check; only checks that fail are given.

    Rows that were not run are not looked at: a crash between the writes of a shard leaves any content there.
    """
    status = block["status"].values
    ok = status == STATUS["ok"]
    run = ok | (status == STATUS["failed"])
    checks = (
        (~np.isin(status, list(STATUS.values())), f"status is not one of {STATUS}"),
        (
            ok & _differs(_sum(block["grad_count"], "bin"), block["num_params"]),
            "grad_count: the sum over bins is not num_params",
        ),
        (
            ok & _differs(_sum(block["grad_count"], "layer"), block["grad_count_network"]),
            "grad_count_network: is not the sum of grad_count over the layers",
        ),
        (run & (row_digests(block) != block["digest"].values), "digest: the content is not what was written with it"),
    )
    for failing, what in checks:
        if failing.any():
            yield np.flatnonzero(failing), what


def _sum(counts: xr.DataArray, dim: str) -> xr.DataArray:
    return counts.sum(dim, dtype=np.int64)


def _differs(a: xr.DataArray, b: xr.DataArray) -> NDArray[np.bool_]:
    different = (a != b.astype(np.int64)).transpose("arch", ...).values
    return np.asarray(different.reshape(different.shape[0], -1).any(axis=1))
