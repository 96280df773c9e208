"""The changelog of a release: what is new, changed or gone, told by digests; entries of earlier releases stay."""

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from functools import partial
from importlib.metadata import version
from pathlib import Path
from zipfile import BadZipFile, ZipFile

from sweetgrad.store.access import check_members, command_line
from sweetgrad.store.checks.sums import SUMS, read_sums
from sweetgrad.store.errors import StoreError
from sweetgrad.store.release._release import Release

CHANGELOG = "CHANGELOG.md"
_ENTRY = re.compile(r"^## Release (\d+) \(", re.MULTILINE)


def last_number(folder: Path) -> int:
    """Number of the last release in a folder; 0 if there is none."""
    path = folder / CHANGELOG
    numbers = _ENTRY.findall(path.read_text(encoding="utf-8")) if path.is_file() else []
    return max(map(int, numbers), default=0)


def content_digests(sums: Mapping[str, str], read: Callable[[str], bytes]) -> dict[str, str]:
    """SHA-256 of the content by profile, estimator and accuracy table.

    Parameters
    ----------
    sums
        SHA-256 by path in the store.
    read
        Content of the file at such a path; only metadata of profiles are read.
    """
    parts: dict[str, list[str]] = {}
    for path, digest in sorted(sums.items()):
        found = re.match(r"(?P<part>[^/]+/accuracy|.+/estimators/[^/]+)/(?P<rest>.+)", path)
        # Metadata holds dates, and words that may improve.
        if found and not path.endswith("zarr.json"):
            parts.setdefault(found["part"], []).append(f"{digest} {found['rest']}")
    digests = {part: hashlib.sha256("\n".join(lines).encode()).hexdigest() for part, lines in parts.items()}
    for path in sums:
        name = path.removesuffix("/zarr.json")
        if name != path and {f"{name}/status/zarr.json", f"{name}/arch/zarr.json"} <= sums.keys():
            digests[name] = json.loads(read(path))["attributes"].get("content_digest", "")
    return dict(sorted(digests.items()))


def previous_digests(folder: Path) -> dict[str, str]:
    """`content_digests` of the release in a folder; empty if there is none.

    Raises
    ------
    StoreError
        If that release is damaged.
    """
    if not (folder / SUMS).is_file():
        return {}
    sums = read_sums((folder / SUMS).read_text(encoding="utf-8"), where=f"{folder / SUMS}")
    tops = dict.fromkeys(name.partition("/")[0] for name in sums)
    found: dict[str, str] = {}
    try:
        for top in tops:
            if top.endswith(".zarr"):
                inside = {name.partition("/")[2]: digest for name, digest in sums.items() if name.startswith(f"{top}/")}
                found |= content_digests(inside, partial(_read, folder / top))
            elif top.endswith(".zarr.zip") and top.removesuffix(".zip") not in tops:
                found |= _digests_in_zip(folder / top)
    except (OSError, BadZipFile) as error:
        raise StoreError(
            f"{folder} holds a damaged release ({error}), so what changed since cannot be told: "
            f"`{command_line('verify', folder)}` says what to get again; or give a new folder."
        ) from error
    return found


def _read(store: Path, path: str) -> bytes:
    return (store / path).read_bytes()


def _digests_in_zip(path: Path) -> dict[str, str]:
    with ZipFile(path) as archive:
        check_members(archive.infolist(), where=str(path), archive_bytes=path.stat().st_size)
        sums = {}
        for name in archive.namelist():
            with archive.open(name) as member:
                sums[name] = hashlib.file_digest(member, "sha256").hexdigest()  # type: ignore[arg-type]  # it has readinto
        return content_digests(sums, archive.read)


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
