"""Scores of several estimators, as tests make them."""

import xarray as xr

from sweetgrad.store import Block, profile_block


def split_scores(scores: xr.Dataset) -> dict[Block, xr.Dataset]:
    """Scores of several estimators, dims (arch, estimator), as rows of their blocks for `Table.write`."""
    names = map(str, scores["estimator"].values)
    return {profile_block(name): scores.sel(estimator=name, drop=True) for name in names}
