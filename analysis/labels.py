"""Which trained accuracy of a store a profile is compared with where nobody says."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sweetgrad.store import Location, ProfileInfo, StoreInfo, open_accuracy, open_profile
from sweetgrad.store.schema import STATUS

__all__ = ["measured_archs", "own_accuracy", "seeds_of", "selectors_of"]


def selectors_of(store: StoreInfo, space: str) -> Sequence[str]:
    """``dataset/split/epochs`` of every accuracy that a store has of a search space."""
    return next((each.selectors for each in store.accuracies if each.space == space), ())


def seeds_of(store: StoreInfo, space: str, selector: str) -> list[str]:
    """Accuracies of single seeds behind ``dataset/split``, which `train` names ``dataset/seedN``: ``dataset/seedN/split``."""
    dataset, split = selector.rsplit("/", 1)
    parts = (each.rsplit("/", 2) for each in selectors_of(store, space))
    return sorted({f"{name}/{of}" for name, of, _ in parts if of == split and name.startswith(f"{dataset}/seed")})


def measured_archs(location: Location, profile: ProfileInfo) -> NDArray[np.str_]:
    """Architectures of a profile that were measured, in its order."""
    status = open_profile(location, profile.status.name, chunks=None)["status"]
    return np.array(status["arch"].values[status.values == STATUS["ok"]].tolist(), dtype=np.str_)


def own_accuracy(location: Location, store: StoreInfo, profile: ProfileInfo) -> str | None:
    """The accuracy to compare a profile with: on test images if there is one, of the most architectures.

    Parameters
    ----------
    location, store
        The store, and what `info` says of it.
    profile
        One of its profiles.

    Returns
    -------
    ``dataset/split``, of the profile's own data set, which stands for the longest training; None if the store has none. A test
    split with an accuracy of a single measured architecture, which correlates with nothing, counts as no test split.
    """
    dataset, space = profile.spec.dataset, profile.spec.space
    parts = (each.rsplit("/", 2) for each in selectors_of(store, space))
    splits = {split for name, split, _ in parts if name == dataset}
    if len(splits) < 2:
        return f"{dataset}/{splits.pop()}" if splits else None
    archs = measured_archs(location, profile)

    def order(split: str) -> tuple[bool, int, int, str]:
        accuracy = open_accuracy(location, space, f"{dataset}/{split}")
        num = int(accuracy.reindex(arch=archs).notnull().sum())
        return "test" in split and num > 1, num, -len(split), split

    return f"{dataset}/{max(splits, key=order)}"
