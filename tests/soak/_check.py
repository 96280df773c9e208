"""What must hold of a store, whatever happened to it."""

from pathlib import Path

import xarray as xr
from _runs import BrokenPromiseError, Round

from sweetgrad.store import Problem, info, list_profiles, open_profile, verify


def require_only_leftovers(store: Path, *, repair: bool = False, allowed: bool = True) -> list[str]:
    """Verify a store in which nothing may be wrong but what a kill leaves: temporary files and claims of the dead."""
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
        raise BrokenPromiseError(f"content_digest is {ours}, of the undisturbed store {expected}")
    differing = _differing(measured(round_.store), measured(round_.setting.undisturbed))
    if differing:
        raise BrokenPromiseError(f"not identical to the undisturbed store: {', '.join(differing)}")


def measured(store: Path) -> xr.Dataset:
    """Every row that was measured, and all that was measured of it but the time that it took."""
    (name,) = list_profiles(store)
    profile = open_profile(store, name, chunks=None).drop_vars("profile_seconds")
    return profile.isel(arch=(profile["status"].values != 0)).load().drop_attrs()


def _digest(store: Path) -> str | None:
    (profile,) = info(store).profiles
    return profile.content_digest


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
        "is claimed by" in problem.what and "has ended" in problem.what
    )


def _is_passing(path: Path) -> bool:
    return path.is_file() and (path.suffix in (".partial", ".claim", ".beat", ".next") or path.parent.name == "claims")
