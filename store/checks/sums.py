"""The file ``SHA256SUMS`` of a release: written in the format of ``sha256sum``, and checked in a folder or at a URL."""

import hashlib
import re
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath

from zarr.buffer import default_buffer_prototype

from sweetgrad.store.access import (
    AtMost,
    Location,
    RemoteStore,
    RetryingStore,
    files_in,
    is_remote,
    local_path,
    map_in_threads,
    open_remote,
    url_of,
)
from sweetgrad.store.access._zarr import sync
from sweetgrad.store.checks.problem import Problem
from sweetgrad.store.errors import StoreError, UnreachableStoreError

SUMS = "SHA256SUMS"
"""Name of the file, at the top of a release."""

_BLOCK = 1 << 23
_MAX_BYTES = 1 << 28
_LINE = re.compile(r"([0-9a-f]{64}) [ *](.+)")


def write_sums(folder: Path, *, progress: Callable[[int, int], None] | None = None) -> dict[str, str]:
    """Write the checksums of all files below a folder; returns the SHA-256 by path in the folder, sorted."""
    names = sorted(files_below(folder))
    sums: dict[str, str] = {}
    for name, digest in zip(names, map_in_threads(lambda name: sha256_of(folder / name), names), strict=True):
        sums[name] = digest
        if progress:
            progress(len(sums), len(names))
    text = "".join(f"{digest}  {name}\n" for name, digest in sums.items())
    read_sums(text, where=SUMS)  # raises now if a reader would refuse a name
    (folder / SUMS).write_text(text, encoding="utf-8")
    return sums


def files_below(folder: Path) -> Iterator[str]:
    """Relative paths of the files below a folder, without the sums themselves and what a desktop leaves behind."""
    names = (path.relative_to(folder).as_posix() for path in files_in(folder))
    return (name for name in names if name != SUMS)


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, read in blocks."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_sums(text: str, *, where: str) -> dict[str, str]:
    r"""Parse checksums; returns the SHA-256 by path in the release. A path that leads out of the release is refused.

    Raises
    ------
    StoreError
        If a line is not in the format of ``sha256sum``, a path is absolute or has ``..``, or a path occurs twice.

    Examples
    --------
    >>> read_sums(f"{'0' * 64}  a/b\n", where="SHA256SUMS") == {"a/b": "0" * 64}
    True
    """
    sums: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        found = _LINE.fullmatch(line)
        if not found:
            raise StoreError(
                f"{where}, line {number}: expected a SHA-256, two spaces and a path, got {line[:80]!r}. Download the file again."
            )
        digest, name = found.groups()
        if not _stays_inside(name):
            raise StoreError(
                f"{where}, line {number}: the path {name!r} leads out of the release. Do not trust this release."
            )
        if name in sums:
            raise StoreError(f"{where}, line {number}: {name!r} occurs twice. Download the file again.")
        sums[name] = digest
    return sums


def _stays_inside(name: str) -> bool:
    path = PurePosixPath(name)
    plain = name.isprintable() and not set(name) & set("\\:?#%") and str(path) == name
    return plain and not path.is_absolute() and ".." not in path.parts and name not in (".", SUMS)


def find_sums(location: Location) -> tuple[Location, str, str] | None:
    """Find the checksums of a release in a location, or one level up if the location is a ``.zarr`` or ``.zarr.zip``.

    Returns
    -------
    Location of the release, the requested part of it (empty for all), and the text of the sums; None if no sums name it.
    """
    # zip::https://host/nb201.zarr.zip is a file at https://host, and zip://nb201.zarr.zip a local one
    text = url_of(location).rpartition("::")[2].removeprefix("zip://").rstrip("/")
    text = text if is_remote(text) else str(local_path(text).absolute())
    above, _, name = text.rpartition("/")
    options = location.storage_options if isinstance(location, RemoteStore) else None
    places = [(text, "")] if not text.endswith(".zip") else []
    if text.endswith((".zarr", ".zarr.zip")):
        places.append((above, name))
    for url, part in places:
        place = RemoteStore(url, options) if options is not None and is_remote(url) else url
        content = _read_sums_file(place)
        # The sums one level up may belong to something else.
        if content is not None and (
            not part or re.search(rf"^[0-9a-f]{{64}} [ *]{re.escape(part)}(/|$)", content, re.M)
        ):
            return place, part, content
    return None


def check_sums(
    place: Location, sums: dict[str, str], *, progress: Callable[[int, int], None] | None = None
) -> list[Problem]:
    """Compare every named file with its sum, reading in blocks; files that are missing or differ are problems.

    Parameters
    ----------
    place
        Folder or URL of the release.
    sums
        SHA-256 by path, as returned by `read_sums`.
    progress
        Called with the number of files checked and their total.

    Raises
    ------
    UnreachableStoreError
        If the place cannot be reached. A missing file does not raise.
    """
    digest_of = _remote_digest(place) if is_remote(place) else _local_digest(local_path(place))
    problems = []
    for number, (name, found) in enumerate(zip(sums, map_in_threads(digest_of, sums), strict=True), start=1):
        if found != sums[name]:
            problems.append(Problem("", None, (), f"{name} {_difference(found, sums[name])} Download it again.", False))
        if progress:
            progress(number, len(sums))
    return problems


def check_extra(folder: Path, sums: dict[str, str], *, part: str = "") -> list[Problem]:
    """Files below a local release, or a part of it, that its sums do not name."""
    extra = sorted(
        name for name in files_below(folder) if name not in sums and name.startswith(f"{part}/" if part else "")
    )
    return [
        Problem("", None, (), f"{name} is not in {SUMS}: it cannot be verified. Move it out of the release.", False)
        for name in extra
    ]


def _difference(found: str, expected: str) -> str:
    if not found:
        return f"is missing, or is not a regular file inside the release (expected SHA-256 {expected[:12]}…)."
    return f"differs: expected SHA-256 {expected[:12]}…, got {found[:12]}…."


def _local_digest(folder: Path) -> Callable[[str], str]:
    top = folder.resolve()

    def digest(name: str) -> str:
        path = (top / name).resolve()  # a link must not lead out, or to an endless device
        return sha256_of(path) if path.is_relative_to(top) and path.is_file() else ""

    return digest


def _remote_digest(place: Location) -> Callable[[str], str]:
    store = open_remote(_remote(place), read_only=True)

    def digest(name: str) -> str:
        sha = hashlib.sha256()
        try:
            for block in _blocks(store, name):
                sha.update(block)
        except FileNotFoundError:
            return ""
        return sha.hexdigest()

    return digest


def _read_sums_file(place: Location) -> str | None:
    if not is_remote(place):
        path = local_path(place) / SUMS
        return path.read_text(encoding="utf-8") if path.is_file() else None
    content = bytearray()
    try:
        for block in _blocks(open_remote(_remote(place), read_only=True), SUMS):
            content += block
            if len(content) > _MAX_BYTES:
                raise StoreError(
                    f"{place}/{SUMS} has more than {_MAX_BYTES >> 20} MB: that is not a list of checksums. Do not trust it."
                )
        return content.decode()
    except (FileNotFoundError, UnicodeDecodeError):
        return None


def _blocks(store: RetryingStore, name: str) -> Iterator[bytes]:
    """Read a file block by block."""
    start, block = 0, None
    while block is None or len(block) == _BLOCK:
        try:
            found = sync(store.get(name, default_buffer_prototype(), AtMost(start, start + _BLOCK)))
        except UnreachableStoreError as error:
            # S3 answers this for a missing file if listing is not allowed.
            if getattr(error.__cause__, "status", None) == 403:
                raise FileNotFoundError(name) from error
            raise
        if found is None:
            raise FileNotFoundError(name)
        block = found.to_bytes()
        start += len(block)
        yield block


def _remote(place: Location) -> RemoteStore:
    return place if isinstance(place, RemoteStore) else RemoteStore(str(place))
