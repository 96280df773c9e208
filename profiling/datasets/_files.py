"""Files of data sets: downloaded (resumed, verified by MD5, extracted safely), found, validated; images normalised."""

import hashlib
import shutil
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from sweetgrad.store.access import check_members
from sweetgrad.store.benchmarks.unpickle import load_pickle
from sweetgrad.store.errors import StoreError

_TIMEOUT_S = 30.0
_MAX_EXTRACTED_BYTES = 4 << 30
_MAX_MEMBERS = 10_000


def fetch(url: str, md5: str | None, destination: Path) -> Path:
    """Download a tar or zip archive to a folder and extract it there.

    The download is written to ``NAME.part``; a rerun requests the rest, or starts again if the server does not support that. The
    archive is renamed after its checksum is verified, and kept, so that a rerun only extracts it.

    Parameters
    ----------
    url
        Address of the archive.
    md5
        MD5 checksum in hexadecimal, as published, which detects damage but not malice; None if there is none. A zip archive also
        has a checksum for every file.
    destination
        Folder; created if it does not exist.

    Returns
    -------
    Path of the archive.

    Raises
    ------
    ConnectionError
        If the network or the server fails; the partial download is kept.
    ValueError
        If the checksum is wrong (the download is deleted), or the archive would write outside of the folder.
    """
    destination.mkdir(parents=True, exist_ok=True)
    archive = destination / httpx.URL(url).path.rpartition("/")[2]
    if archive.exists():
        if md5 is not None and (got := _md5(archive)) != md5:
            raise ValueError(f"{archive} has MD5 {got}, expected {md5}: delete or move it, then try again")
    else:
        part = archive.with_name(archive.name + ".part")
        _download(url, part)
        if md5 is not None and (got := _md5(part)) != md5:
            part.unlink()
            raise ValueError(f"{url}: expected MD5 {md5}, got {got}. Deleted {part}; try again to download it")
        if md5 is None and archive.suffix == ".zip" and not zipfile.is_zipfile(part):
            part.unlink()
            raise ValueError(f"{url}: the download is not a zip archive. Deleted {part}; try again to download it")
        part.rename(archive)
    _extract(archive, destination)
    return archive


def _download(url: str, part: Path) -> None:
    try:
        _stream(url, part)
    except httpx.HTTPStatusError as error:
        status = error.response
        raise ConnectionError(
            f"{url}: the server returned {status.status_code} {status.reason_phrase}; try again later"
        ) from error
    except httpx.HTTPError as error:
        kept = part.stat().st_size if part.exists() else 0
        raise ConnectionError(
            f"{url}: {type(error).__name__} ({error}) after {kept:,} bytes, which are kept in {part}; try again to resume"
        ) from error


def _stream(url: str, part: Path) -> None:
    size = part.stat().st_size if part.exists() else 0
    # identity: a byte range of a compressed transfer would not be a byte range of the file.
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={size}-"} if size else {})
    with httpx.stream("GET", url, headers=headers, timeout=_TIMEOUT_S, follow_redirects=True) as response:
        if size and response.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
            return  # complete, or part of a different file: the checksum decides
        response.raise_for_status()
        resumes = response.headers.get("Content-Range", "").startswith(f"bytes {size}-")
        start = size if response.status_code == httpx.codes.PARTIAL_CONTENT and resumes else 0
        length = response.headers.get("Content-Length")
        with part.open("r+b" if start else "wb") as file, _progress() as progress:
            file.seek(start)
            total = start + int(length) if length else None
            task = progress.add_task(part.stem, total=total, completed=start)
            for block in response.iter_raw():
                progress.advance(task, file.write(block))


def _progress() -> Progress:
    columns = BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn()
    return Progress(TextColumn("{task.description}"), *columns, console=Console(stderr=True))


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _check_members(tar: tarfile.TarFile, archive: Path) -> None:
    """Check the whole archive before extraction. No data set needs links, for which Python's filter had vulnerabilities."""
    total = 0
    for number, member in enumerate(tar, start=1):
        total += member.size
        if not (member.isfile() or member.isdir()):
            raise ValueError(
                f"{archive} cannot be extracted safely: {member.name} is a link or a device, not a file or folder"
            )
        if total > _MAX_EXTRACTED_BYTES or number > _MAX_MEMBERS:
            raise ValueError(
                f"{archive} cannot be extracted safely: expected at most {_MAX_MEMBERS:,} files with {_MAX_EXTRACTED_BYTES:,} "
                f"bytes, but the first {number:,} have {total:,}"
            )


def _extract(archive: Path, destination: Path) -> None:
    """Extract to a temporary folder, then move file by file: an interrupted extraction leaves no partial files."""
    with tempfile.TemporaryDirectory(prefix=".extracting-", dir=destination) as folder:
        try:
            if archive.suffix == ".zip":
                _extract_zip(archive, Path(folder))
            else:
                with tarfile.open(archive) as tar:
                    _check_members(tar, archive)
                    tar.extractall(folder, filter="data")
        except (tarfile.TarError, zipfile.BadZipFile, zlib.error, StoreError) as error:
            raise ValueError(f"{archive} cannot be extracted safely: {error}") from error
        for path in sorted(Path(folder).rglob("*")):
            target = destination / path.relative_to(folder)
            if path.is_dir():
                target.mkdir(exist_ok=True)
            else:
                path.replace(target)


def _extract_zip(archive: Path, folder: Path) -> None:
    with zipfile.ZipFile(archive) as file:
        members = file.infolist()
        check_members(members, where=str(archive), archive_bytes=archive.stat().st_size)
        total = sum(member.file_size for member in members)
        if total > _MAX_EXTRACTED_BYTES or len(members) > _MAX_MEMBERS:
            raise ValueError(
                f"{archive} cannot be extracted safely: expected at most {_MAX_MEMBERS:,} files with {_MAX_EXTRACTED_BYTES:,} "
                f"bytes, got {len(members):,} with {total:,}"
            )
        for member in members:
            target = folder / member.filename
            target.parent.mkdir(parents=True, exist_ok=True)
            if member.is_dir():
                target.mkdir(exist_ok=True)
            else:
                with file.open(member) as source, target.open("wb") as out:
                    shutil.copyfileobj(source, out)


@dataclass(frozen=True)
class ImageFile:
    """Content of one file: images ``x``, uint8 (N, C, H, W), and labels ``y``, int64 (N,)."""

    name: str
    x: NDArray[np.uint8]
    y: NDArray[np.int64]


def existing_files(folder: Path, names: Iterable[str]) -> list[Path]:
    """Those of the named files that exist in the folder, in the given order."""
    return [folder / name for name in names if (folder / name).is_file()]


def check_labels(y: NDArray[Any], path: Path, *, first: int, last: int, what: str = "labels") -> None:
    """Raise ValueError, naming the file and the first image, unless all labels are in first..last."""
    wrong = np.flatnonzero((y < first) | (y > last))
    if wrong.size:
        raise ValueError(
            f"{path}: {what} must be in {first}..{last}, but {wrong.size} of {len(y)} are not "
            f"(first: image {wrong[0]} has {y[wrong[0]]}); this is a different data set, or the file is damaged"
        )


def read_pickled_batch(
    path: Path, *, labels: str, pixels: int, first: int, last: int
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Read a batch in the Python layout that CIFAR and ImageNet16 share: a pickled dict with ``data`` and labels.

    Returns
    -------
    Images, uint8 (N, pixels), and labels, int64 (N,), as in the file.
    """
    batch = load_pickle(path)
    data, y = _entry(batch, "data", path), _entry(batch, labels, path)
    if not isinstance(data, np.ndarray) or data.dtype != np.uint8 or data.ndim != 2 or data.shape[1] != pixels:
        actual = f"{data.dtype} {data.shape}" if isinstance(data, np.ndarray) else type(data).__name__
        raise ValueError(f"{path}: 'data' must be uint8 of shape (N, {pixels}), got {actual}")
    # Checked before NumPy converts it: nested lists with repeated references could expand to 2^64 elements.
    if isinstance(y, list | tuple) and not all(isinstance(label, int | np.integer) for label in y):
        raise ValueError(
            f"{path}: {labels!r} must be {len(data)} integers, got a {type(y).__name__} with other elements"
        )
    y = np.asarray(y)
    if y.shape != data.shape[:1] or y.dtype.kind not in "iu":
        raise ValueError(f"{path}: {labels!r} must be {len(data)} integers, got {y.dtype} {y.shape}")
    check_labels(y, path, first=first, last=last)
    return data, y.astype(np.int64)


def _entry(batch: Any, key: str, path: Path) -> Any:
    # Python 2 wrote the keys as bytes, Python 3 writes strings.
    for candidate in (key, key.encode()):
        if isinstance(batch, dict) and candidate in batch:
            return batch[candidate]
    actual = (
        f"a dict with {sorted(str(name)[:80] for name in list(batch)[:10])}"
        if isinstance(batch, dict)
        else type(batch).__name__
    )
    raise ValueError(f"{path}: expected a pickled dict with {key!r}, got {actual}")


def describe_source(files: Sequence[ImageFile], *, total: int, what: str) -> str:
    """One line for the provenance: which files were read, and how many of the images of the data set they have."""
    return f"{', '.join(file.name for file in files)}: {sum(len(file.y) for file in files):,} of the {total:,} {what} images"


def normalise(
    arrays: Sequence[NDArray[np.uint8]], *, mean: Sequence[float], std: Sequence[float]
) -> NDArray[np.float32]:
    """Concatenate images and normalise each channel: ``(x - mean) / std`` in pixel values 0..255, rounded once to float32.

    Parameters
    ----------
    arrays
        One or more arrays of shape (N, C, H, W).
    mean, std
        Mean and standard deviation of each channel, in pixel values.

    Examples
    --------
    >>> normalise([np.array([[[[0, 255]]]], dtype=np.uint8)], mean=[127.5], std=[51.0])
    array([[[[-2.5,  2.5]]]], dtype=float32)
    """
    # A table of the 256 pixel values for each channel, applied in blocks, so that no second float copy of the images is made.
    values = np.arange(256, dtype=np.float64)
    tables = [((values - m) / s).astype(np.float32) for m, s in zip(mean, std, strict=True)]
    out = np.empty((sum(map(len, arrays)), *arrays[0].shape[1:]), dtype=np.float32)
    done = 0
    for array in arrays:
        for start in range(0, len(array), 256):
            block = array[start : start + 256]
            for channel, table in enumerate(tables):
                out[done : done + len(block), channel] = table[block[:, channel]]
            done += len(block)
    return out
