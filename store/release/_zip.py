"""A folder as one zip file whose bytes depend on its content alone."""

import shutil
import zipfile
from pathlib import Path

from sweetgrad.store.access import Progress, files_in

_EPOCH = (1980, 1, 1, 0, 0, 0)  # the first day of zip


def write_zip(folder: Path, target: Path, *, progress: Progress | None = None) -> None:
    """Write all files below a folder: sorted, without dates, stored as they are, since chunks are compressed already."""
    names = [path.relative_to(folder).as_posix() for path in files_in(folder)]
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
        for done, name in enumerate(names, start=1):
            path, entry = folder / name, zipfile.ZipInfo(name, _EPOCH)
            entry.create_system = 3  # Unix, also where this is not one
            entry.external_attr = 0o644 << 16
            entry.file_size = path.stat().st_size
            with path.open("rb") as source, archive.open(entry, "w") as member:
                shutil.copyfileobj(source, member, 1 << 20)
            if progress:
                progress("zipping", done, len(names))
