"""The copy of all metadata in the root, which readers that cannot list rely on, against the metadata themselves."""

from typing import Any

import zarr

from sweetgrad.store.checks._problem import DAMAGE, Problem, ProfileCheck
from sweetgrad.store.checks._tree import ACCURACY, exists, parse_metadata, read_metadata, read_root
from sweetgrad.store.root import consolidate

_STAMP = ("shard_size", "complete", "num_ok", "num_failed", "content_digest")


def check_consolidated(root: zarr.Group, profiles: list[ProfileCheck], *, repair: bool) -> list[Problem]:
    """Compare what never changes, the arrays of a profile and its spec, and what is copied when it does, its stamp.

    A copy that lags behind is no problem: nodes of a run that has not ended, or was killed, are missing there. Profiles with
    problems of their own are passed over.
    """
    copied = read_root(root).get("consolidated_metadata")
    if copied is None:
        return []  # no run has ended yet
    wrong, specs = _differing(root, copied, {profile.name: profile for profile in profiles})
    problems = []
    if wrong:
        what = f"the copy of all metadata in the root's zarr.json is wrong about {', '.join(wrong[:5])}; --repair makes it anew."
        problems.append(Problem("", None, (), what, True))
        if repair and not specs:
            problems += _make_anew(root)
    for name in specs:
        what = (
            "spec: is not what the copy in the root's zarr.json says, so one of the two is damaged. The next `sweetgrad profile` "
            f"of this profile makes the copy anew, or names what differs; then copy {name}/zarr.json from a backup."
        )
        problems.append(Problem(name, None, (), what, False))
    return problems


def _make_anew(root: zarr.Group) -> list[Problem]:
    try:
        consolidate(root)
    except DAMAGE as error:
        what = f"the copy of all metadata cannot be made anew while other problems remain ({error})"
        return [Problem("", None, (), what, False)]
    return []


def _differing(root: zarr.Group, copied: Any, profiles: dict[str, ProfileCheck]) -> tuple[list[str], list[str]]:
    """Nodes that the copy is wrong about, and profiles of which it has another spec."""
    if not isinstance(copied, dict) or not isinstance(copied.get("metadata"), dict):
        return ["everything"], []
    wrong, specs = [], []
    for path, metadata in copied["metadata"].items():
        profile = next((each for name, each in profiles.items() if f"{path}/".startswith(f"{name}/")), None)
        if profile and profile.problems:
            continue
        replaced = path.split("/")[1:2] == [ACCURACY]  # an import that was cut off leaves none there for a while
        if _lasting(metadata) is None or not (replaced or exists(root, f"{path}/zarr.json")):
            wrong.append(path)
        elif profile and path == profile.name:
            theirs, ours = metadata.get("attributes") or {}, profile.node.attributes
            if theirs.get("spec") != ours["spec"]:
                specs.append(path)
            if any(theirs.get(key) != ours.get(key) for key in _STAMP):
                wrong.append(path)
        elif profile and _lasting(metadata) != _lasting(read_metadata(root, path)[0]):
            wrong.append(path)
    return wrong, specs


def _lasting(metadata: Any) -> dict[str, Any] | None:
    """What never changes of an array, as zarr understands it; None if it does not."""
    try:
        read = parse_metadata(metadata).to_dict()
    except Exception:  # each codec has errors of its own
        return None
    return {key: value for key, value in read.items() if key not in ("attributes", "consolidated_metadata")}
