"""The changelog of a release: what is new, changed or gone, told by digests; entries of earlier releases stay."""

import hashlib
import json
import re
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

from sweetgrad.store.checks.sums import SUMS, read_sums
from sweetgrad.store.release._release import Release

CHANGELOG = "CHANGELOG.md"
_ENTRY = re.compile(r"^## Release (\d+) \(", re.MULTILINE)


def last_number(folder: Path) -> int:
    """Number of the last release in a folder; 0 if there is none."""
    path = folder / CHANGELOG
    numbers = _ENTRY.findall(path.read_text(encoding="utf-8")) if path.is_file() else []
    return max(map(int, numbers), default=0)


def content_digests(store: Path, sums: Mapping[str, str]) -> dict[str, str]:
    """SHA-256 of the content by profile, estimator and accuracy table.

    Parameters
    ----------
    store
        Folder ``<name>.zarr``.
    sums
        SHA-256 by path in that folder.
    """
    parts: dict[str, list[str]] = {}
    for path, digest in sorted(sums.items()):
        found = re.match(r"(?P<part>[^/]+/accuracy|.+/estimators/[^/]+)/(?P<rest>.+)", path)
        # Metadata holds dates, and words that may improve.
        if found and not path.endswith("zarr.json"):
            parts.setdefault(found["part"], []).append(f"{digest} {found['rest']}")
    digests = {part: hashlib.sha256("\n".join(lines).encode()).hexdigest() for part, lines in parts.items()}
    for file in store.rglob("zarr.json"):
        name = file.parent.relative_to(store).as_posix()
        if f"{name}/status/zarr.json" in sums and f"{name}/arch/zarr.json" in sums:
            digests[name] = json.loads(file.read_text(encoding="utf-8"))["attributes"].get("content_digest", "")
    return dict(sorted(digests.items()))


def previous_digests(folder: Path) -> dict[str, str]:
    """`content_digests` of the release in a folder; empty if there is none."""
    if not (folder / SUMS).is_file():
        return {}
    sums = read_sums((folder / SUMS).read_text(encoding="utf-8"), where=f"{folder / SUMS}")
    stores = {name.partition("/")[0] for name in sums if name.partition("/")[0].endswith(".zarr")}
    found: dict[str, str] = {}
    for store in stores:
        inside = {name.partition("/")[2]: digest for name, digest in sums.items() if name.startswith(f"{store}/")}
        found |= content_digests(folder / store, inside)
    return found


def changes(before: Mapping[str, str], after: Mapping[str, str]) -> tuple[str, ...]:
    """A sentence for each part that is new, has other content, or is gone.

    Examples
    --------
    >>> changes({"a": "1" * 64, "b": "2" * 64}, {"a": "3" * 64, "c": "4" * 64})
    ('`a`: content changed, 111111111111… became 333333333333…', '`b`: gone', '`c`: new, content 444444444444…')
    """
    lines = []
    for part in sorted({*before, *after}):
        old, new = before.get(part), after.get(part)
        if old is None:
            lines.append(f"`{part}`: new, content {new[:12] if new else ''}…")
        elif new is None:
            lines.append(f"`{part}`: gone")
        elif old != new:
            lines.append(f"`{part}`: content changed, {old[:12]}… became {new[:12]}…")
    return tuple(lines)


def changelog(release: Release, before: str) -> str:
    """The changelog with the entry of this release first; ``before`` is that of the release before."""
    lines = [f"## Release {release.number} ({release.date.isoformat()})", ""]
    if release.note:
        lines += [release.note, ""]
    lines += [f"- {change}" for change in release.changes]
    if release.unchanged:
        lines.append(f"- Unchanged: all content has the digests of release {release.number - 1}.")
    lines += ["", f"Written by sweetgrad {version('sweetgrad')}.", ""]
    start = _ENTRY.search(before)
    return (
        "\n".join([f"# Releases of {release.name}", "", *lines, before[start.start() :] if start else ""]).rstrip()
        + "\n"
    )
