"""Write a release: the store as folder and zip, or as zip only, with all that is needed to verify, load and cite it."""

import datetime as dt
import difflib
import json
import re
import shutil
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import zarr

from sweetgrad.store.access import (
    Location,
    Progress,
    copy_groups,
    files_in,
    force_tree,
    is_remote,
    local_path,
    new_folder,
    rename_folder,
    with_options,
)
from sweetgrad.store.checks import require_sound
from sweetgrad.store.checks.sums import SUMS, files_below, read_sums, sha256_of, write_sums
from sweetgrad.store.errors import NotAStoreError, StoreError
from sweetgrad.store.format.schema import LEAN, STATUS
from sweetgrad.store.groups import Store
from sweetgrad.store.locks import Lock, lock_folder
from sweetgrad.store.overview import ProfileStatus, info, status
from sweetgrad.store.profile import Profile
from sweetgrad.store.redaction import redacted
from sweetgrad.store.release._release import Release, ReleaseFile
from sweetgrad.store.release._texts import (
    CHANGELOG,
    changelog,
    changes,
    content_digests,
    croissant,
    data_card,
    datacite,
    last_number,
    previous_digests,
)
from sweetgrad.store.root import consolidate, redact_attributes
from sweetgrad.store.shards import first_file

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_DOI = re.compile(r"10\.\d{4,9}/[-._;()/:a-zA-Z0-9]+")
_TEXTS_BYTES = 1 << 20  # more than all texts of a release take
_REPLACED = ".replaced-by-publish"


def publish(
    location: Location,
    dest: str | Path,
    *,
    profiles: Sequence[str] | None = None,
    name: str | None = None,
    note: str = "",
    creators: Sequence[str] = (),
    doi: str = "",
    url: str = "",
    allow_incomplete: bool = False,
    zip_only: bool = False,
    lean: int | None = None,
    pages: Mapping[str, Callable[[Path], str]] = MappingProxyType({}),
    storage_options: dict[str, Any] | None = None,
    progress: Progress | None = None,
) -> Release:
    """Write a release of a store to a folder, which may contain the previous release.

    The store is verified first. Its files are copied byte by byte, never re-encoded. The release is written to a temporary folder
    ``<dest>.publishing``, which is renamed when it is complete; until then, the previous release is not changed.

    Parameters
    ----------
    location, storage_options
        As in `open_store`.
    dest
        Local folder that is new, is empty, or contains the previous release.
    profiles
        Names of the profiles to publish, with the accuracy tables of their spaces; None: all.
    name
        Name of the published store, ``<name>.zarr``; None: the name of the store.
    note
        Entry of this release in the changelog.
    creators
        Authors of the data, as ``Family, Given`` or the name of an organisation.
    doi, url
        DOI of the data set and address at which the folder will be served, if they are known.
    allow_incomplete
        Whether profiles may have rows that were not run, which the data card then states.
    zip_only
        Whether to omit the folder ``<name>.zarr``: for hosts that accept files but not folders, or where the number of files
        matters, such as a git repository.
    lean
        Number of measured rows of each profile, the first ones, that keep their counts by layer (`grad_count`), from which an
        interval is chosen; 100 are enough for Algorithm 1. Whole shards are kept until they have that many. Counts of the whole
        network, blocks, scores and accuracies stay for all rows, as do their digests. None: all rows keep them.
    pages
        Further files of the release by name, such as ``index.html``: functions that return their text, given the published
        store, which is not in its place yet.
    progress
        Called with the name of the current step, the number of items done, and their total.

    Returns
    -------
    Description of the release that was written.

    Raises
    ------
    NotAStoreError
        If there is no such store or profile.
    LockedError
        If another process is writing to that folder.
    StoreError
        If a profile is not complete, the store has problems, the folder contains files that are not part of a release, or there
        is not enough disk space.
    ValueError
        If the name, DOI, address or destination is invalid, or ``lean`` is not positive.
    """
    location = with_options(location, storage_options)
    folder = _folder(location, dest)
    name = _release_name(location, name)
    if doi and not _DOI.fullmatch(doi):
        raise ValueError(f"expected a DOI such as 10.5281/zenodo.1234567 (without https://doi.org/), got {doi!r}")
    if lean is not None and lean < 1:
        raise ValueError(f"a lean release keeps the counts by layer of at least one row, got lean={lean}")
    if redacted(url) != url:
        raise ValueError(f"{redacted(url)} has credentials or a query: give the public address")
    source = Store.open(location)
    chosen = _choose(location, profiles)
    _require_complete(location, chosen, allow_incomplete=allow_incomplete)
    spaces = dict.fromkeys(profile.name.partition("/")[0] for profile in chosen)
    paths = [
        *(p.name for p in chosen),
        *(f"{space}/accuracy" for space in spaces if f"{space}/accuracy" in source.root),
    ]
    with lock_folder(folder) as lock:
        _recover(folder)
        _require_release_or_nothing(folder)
        require_sound(location, paths, progress=progress)
        _require_room(location, paths, folder)
        with new_folder(folder, ".publishing") as work:
            store = work / f"{name}.zarr"
            copy_groups(source.root, paths, store, progress=progress)
            if lean is not None:
                for profile in chosen:
                    _leave_out_layers(Profile.open(store, profile.name), store, most=lean)
            _consolidate(store, [profile.name for profile in chosen])
            write_zip(store, work / f"{name}.zarr.zip", progress=progress)
            found = info(store)
            sums = {key: sha256_of(store / key) for key in files_below(store)}
            digests = content_digests(sums, lambda path: (store / path).read_bytes())
            for file, page in pages.items():
                (work / file).write_text(page(store), encoding="utf-8")
            if zip_only:
                shutil.rmtree(store)
            release = Release(
                folder=folder,
                name=name,
                number=last_number(folder) + 1,
                date=dt.datetime.now(dt.UTC).date(),
                note=redacted(note),
                creators=tuple(creators) or (f"The authors of {name}",),
                doi=doi,
                url=url,
                attributes=found.attributes,
                profiles=found.profiles,
                accuracies=found.accuracies,
                digests=digests,
                changes=changes(previous_digests(folder), digests),
                files=_top_files(work),
                zip_only=zip_only,
            )
            _write_texts(release, work, before=folder / CHANGELOG)
            write_sums(work, progress=(lambda done, total: progress("summing", done, total)) if progress else None)
            release = replace(release, files=_top_files(work))
            _take_place(work, folder, lock)
        return release


def _leave_out_layers(profile: Profile, store: Path, *, most: int) -> None:
    """Delete the counts by layer of a copied profile, all but those of the first shards that have ``most`` measured rows."""
    measured = np.cumsum(profile.status() == STATUS["ok"])
    last = int(np.searchsorted(measured, min(most, measured[-1])))
    array = profile.group["grad_count"]
    assert isinstance(array, zarr.Array)
    kept = [shard for shard in profile.shards() if shard.start <= last]
    if len(kept) == len(profile.shards()):
        return
    for shard in profile.shards()[len(kept) :]:
        (store / profile.name / "grad_count" / first_file(array, shard)).unlink(missing_ok=True)
    Store.open(store, mode="r+").profile_group(profile.name).update_attributes({LEAN: kept[-1].stop})


def _folder(location: Location, dest: str | Path) -> Path:
    if is_remote(dest):
        raise ValueError(
            f"a release is written to a local folder, got {redacted(dest)}: write it there, then upload the folder."
        )
    folder = local_path(dest).resolve()
    if not is_remote(location) and folder.is_relative_to(local_path(location).resolve()):
        raise ValueError(f"{dest} is inside the store {location}: choose a folder outside.")
    return folder


def _release_name(location: Location, name: str | None) -> str:
    if name is None:
        last = str(location).rstrip("/").rpartition("/")[2]
        name = last.removesuffix(".zip").removesuffix(".zarr")
    if not _NAME.fullmatch(name):
        raise ValueError(
            f"name must consist of letters, digits, dots, dashes and underscores, got {name!r}: choose another with --name"
        )
    return name


def _choose(location: Location, profiles: Sequence[str] | None) -> list[ProfileStatus]:
    there = {profile.name: profile for profile in status(location)}
    if not there:
        raise NotAStoreError(f"{location} has no profile yet: there is nothing to publish.")
    for name in profiles or ():
        if name not in there:
            near = difflib.get_close_matches(name, there, n=3, cutoff=0.3) or sorted(there)
            raise NotAStoreError(f"{location} has no profile {name!r}; it holds {', '.join(near)}.")
    return [there[name] for name in dict.fromkeys(there if profiles is None else profiles)]


def _require_complete(location: Location, profiles: Sequence[ProfileStatus], *, allow_incomplete: bool) -> None:
    unfinished = [profile for profile in profiles if not profile.complete]
    if unfinished and not allow_incomplete:
        lines = "\n".join(
            f"  {p.name}: {p.num_not_run:,} of {p.num_archs:,} architectures were not run" for p in unfinished
        )
        raise StoreError(
            f"{location} has profiles that are not complete:\n{lines}\n"
            "`sweetgrad profile` runs the rest; --allow-incomplete publishes them as they are, and says so in the data card; "
            "--profiles selects others."
        )


def _recover(folder: Path) -> None:
    """Restore the previous release, which a crash between the two renames of `_take_place` leaves under another name."""
    old = _beside(folder, _REPLACED)
    if old.exists() and not folder.exists():
        rename_folder(old, folder)
    elif old.exists():
        shutil.rmtree(old)


def _require_release_or_nothing(folder: Path) -> None:
    """Raise if the folder has files that are not part of a release, which would be lost when the next one replaces it."""
    if not folder.exists():
        return
    if not folder.is_dir():
        raise StoreError(f"{folder} is a file: choose a new folder, or one that contains a release.")
    sums = folder / SUMS
    known = read_sums(sums.read_text(encoding="utf-8"), where=str(sums)) if sums.is_file() else {}
    foreign = sorted(path for path in files_below(folder) if path not in known)
    if foreign:
        shown = ", ".join(foreign[:5]) + (", …" if len(foreign) > 5 else "")
        raise StoreError(
            f"{folder} contains files that are not part of a release: {shown}. Publishing replaces the folder: move them "
            "away, or choose another folder."
        )


def _require_room(location: Location, paths: Sequence[str], folder: Path) -> None:
    """Raise if the disk is too full for two copies (folder and zip, even if only the zip stays); skipped for a remote store."""
    if is_remote(location) or not local_path(location).is_dir():
        return
    files = (file for path in paths for file in (local_path(location) / path).rglob("*") if file.is_file())
    needed = 2 * sum(file.stat().st_size for file in files) + _TEXTS_BYTES
    there = next(parent for parent in folder.parents if parent.exists())
    free = shutil.disk_usage(there).free
    if needed > free:
        raise StoreError(
            f"the release needs {needed / 1e6:,.0f} MB in {there}, which has {free / 1e6:,.0f} MB free: free some space, or "
            "choose a folder on another disk. Nothing was written."
        )


def _take_place(work: Path, folder: Path, lock: Lock) -> None:
    """Replace the previous release by the new one, and delete it when the new one is on the disk."""
    force_tree(work)
    lock.require()
    if folder.exists():
        rename_folder(folder, _beside(folder, _REPLACED))
        lock.require()
    rename_folder(work, folder)
    shutil.rmtree(_beside(folder, _REPLACED), ignore_errors=True)


def _beside(folder: Path, suffix: str) -> Path:
    return folder.with_name(folder.name + suffix)


def _consolidate(store: Path, profiles: Sequence[str]) -> None:
    """Stamp each profile of the copy, then consolidate the metadata in the root and in each profile."""
    for name in profiles:
        Profile.open(store, name).finalise()
    root = Store.open(store, mode="r+").root
    redact_attributes(root)
    for name in [*profiles, ""]:
        consolidate(root, name)


def _top_files(work: Path) -> tuple[ReleaseFile, ...]:
    sizes: dict[str, int] = {}
    for path in sorted(path for path in work.rglob("*") if path.is_file()):
        top, slash, _ = path.relative_to(work).as_posix().partition("/")
        sizes[top + slash] = sizes.get(top + slash, 0) + path.stat().st_size
    return tuple(ReleaseFile(name, size) for name, size in sizes.items())


def _write_texts(release: Release, work: Path, *, before: Path) -> None:
    archive = release.archive
    previous = before.read_text(encoding="utf-8") if before.is_file() else ""
    texts = {
        "README.md": data_card(release),
        CHANGELOG: changelog(release, previous),
        "load.py": load_snippet(release),
        "datacite.json": _json(datacite(release)),
        "croissant.json": _json(croissant(release, {archive: sha256_of(work / archive)})),
    }
    for name, text in texts.items():
        (work / name).write_text(text, encoding="utf-8")


def _json(content: dict[str, Any]) -> str:
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def load_snippet(release: Release) -> str:
    """Text of ``load.py``: five lines that open the release in their own folder, or at a given location."""
    name = release.profiles[0].status.name
    return f"""# Opens this release: `python load.py`, or `python load.py URL`. It needs sweetgrad, but none of its extras.
import sys
from pathlib import Path
from sweetgrad.store import open_profile
location = sys.argv[1] if sys.argv[1:] else Path(__file__).with_name({release.store!r})
print(open_profile(location, {name!r}, chunks=None))  # an xarray.Dataset
"""


_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest date that zip can store


def write_zip(folder: Path, target: Path, *, progress: Progress | None = None) -> None:
    """Write all files below a folder to a zip: sorted, without dates, and uncompressed, since chunks are compressed already."""
    names = [path.relative_to(folder).as_posix() for path in files_in(folder)]
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
        for done, name in enumerate(names, start=1):
            path, entry = folder / name, zipfile.ZipInfo(name, _EPOCH)
            entry.create_system = 3  # Unix, on every platform
            entry.external_attr = 0o644 << 16
            entry.file_size = path.stat().st_size
            with path.open("rb") as source, archive.open(entry, "w") as member:
                shutil.copyfileobj(source, member, 1 << 20)
            if progress:
                progress("zipping", done, len(names))
