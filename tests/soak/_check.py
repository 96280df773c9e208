"""What must hold of a store, whatever happened to it."""

from pathlib import Path

import xarray as xr
from _runs import BrokenPromiseError, Round

from sweetgrad.store import (
    Problem,
    list_estimators,
    list_profiles,
    open_activations,
    open_estimators,
    open_moments,
    open_profile,
    verify,
)
from sweetgrad.store.access import open_root


def require_only_leftovers(store: Path, *, repair: bool = False, allowed: bool = True) -> list[str]:
    """Verify a store in which nothing may be wrong but what a kill leaves: temporary files and locks of the dead."""
    problems = verify(store, repair=repair)
    damage = [str(problem) for problem in problems if not (allowed and _is_leftover(problem))]
    if damage:
        raise BrokenPromiseError(f"{len(damage)} problems where there should be none: {'; '.join(damage)[:1500]}")
    return [str(problem) for problem in problems]


def is_done(round_: Round) -> bool:
    """Whether the stamp is that of the undisturbed store already."""
    return _digest(round_.store) == _digest(round_.setting.undisturbed)


def require_identical(round_: Round) -> None:
    """The store is complete, clean after ``verify --repair``, and identical to the undisturbed one."""
    round_.notes["swept"] = len(require_only_leftovers(round_.store, repair=True))
    left = [str(path.relative_to(round_.store)) for path in round_.store.rglob("*") if _is_passing(path)]
    if left:
        raise BrokenPromiseError(f"left in the store after verify --repair: {', '.join(left)[:1500]}")
    require_only_leftovers(round_.store, allowed=False)
    ours, expected = _digest(round_.store), _digest(round_.setting.undisturbed)
    if ours != expected:
        raise BrokenPromiseError(f"the digests are {ours}, of the undisturbed store {expected}")
    differing = _differing(measured(round_.store), measured(round_.setting.undisturbed))
    if differing:
        raise BrokenPromiseError(f"not identical to the undisturbed store: {', '.join(differing)}")


def measured(store: Path) -> xr.Dataset:
    """Every row that was measured, and all that was measured of it but the time that it took."""
    (name,) = list_profiles(store)
    profile = open_profile(store, name, chunks=None).drop_vars("profile_seconds")
    scores = open_estimators(store, name)[["score", "message", "status"]]
    parts = [
        profile,
        open_moments(store, name),
        open_activations(store, name)[["activation_count"]],
        scores.rename({each: f"estimator_{each}" for each in scores}),
    ]
    run = profile["status"].values != 0
    return xr.merge([part.isel(arch=run).load().drop_attrs() for part in parts], join="exact", compat="equals")


def _digest(store: Path) -> dict[str, str | None]:
    """What the profile and each of its estimators were stamped with."""
    (name,) = list_profiles(store)
    root = open_root(store)
    groups = [root[name], *(root[f"{name}/estimators/{each}"] for each in list_estimators(store, name))]
    digests = {group.path: group.attrs.get("content_digest") for group in groups}
    return {path: None if digest is None else str(digest) for path, digest in digests.items()}


def _differing(ours: xr.Dataset, expected: xr.Dataset) -> list[str]:
    if ours.identical(expected):
        return []
    if ours.sizes != expected.sizes:
        return [f"sizes {dict(ours.sizes)} instead of {dict(expected.sizes)}"]
    names = {*ours.variables, *expected.variables}
    same = {name for name in set(ours.variables) & set(expected.variables) if ours[name].identical(expected[name])}
    return sorted(map(str, names - same))


def _is_leftover(problem: Problem) -> bool:
    return "was left by an interrupted write" in problem.what or (
        "is locked by" in problem.what and "has ended" in problem.what
    )


def _is_passing(path: Path) -> bool:
    return path.is_file() and (path.suffix in (".partial", ".claim", ".beat", ".next") or path.parent.name == "claims")
