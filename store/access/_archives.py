"""Pure checks of the directory of a zip archive, before any of its members is read."""

import stat
from collections.abc import Sequence
from zipfile import ZIP_DEFLATED, ZIP_STORED, ZipInfo

from sweetgrad.store.access._limits import (
    MAX_CHUNK_BYTES,
    MAX_DEFLATE_RATIO,
    MAX_DEPTH,
    MAX_DOCUMENT_BYTES,
    MAX_SHARD_BYTES,
    refuse,
    short,
)


def check_members(members: Sequence[ZipInfo], *, where: str, archive_bytes: int | None = None) -> None:
    """Check the directory of a zip archive, before any of its members is read.

    Parameters
    ----------
    members
        As `zipfile.ZipFile.infolist` gives them.
    where
        Names the archive in errors.
    archive_bytes
        Size of the archive, where it is known: members that overlap have more bytes than that.

    Raises
    ------
    NotAStoreError
        If a member has a name that leaves the archive, is a link, is encrypted, is there twice, or would swell beyond measure.
    """
    seen: set[str] = set()
    for member in members:
        name, mode = member.orig_filename, member.external_attr >> 16
        parts = name.removesuffix("/").split("/")
        if (
            name.startswith("/")
            or {"", ".", ".."} & set(parts)
            or any(c in name for c in "\\:\0")
            or len(parts) > MAX_DEPTH
        ):
            refuse(where, f"has a member named {short(name)}", f"paths inside the archive, at most {MAX_DEPTH} deep")
        if mode and stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
            refuse(where, f"has a member {short(name)} that is a link or a device", "plain files")
        if name in seen:
            refuse(where, f"has two members named {short(name)}", "each name once")
        seen.add(name)
        if member.flag_bits & 1 or member.compress_type not in (ZIP_STORED, ZIP_DEFLATED):
            refuse(
                where,
                f"has a member {short(name)} that is encrypted or compressed otherwise",
                "stored or deflated ones",
            )
        most = MAX_DOCUMENT_BYTES if parts[-1] == "zarr.json" else MAX_SHARD_BYTES + MAX_CHUNK_BYTES
        if member.file_size > min(most, max(1 << 20, member.compress_size * MAX_DEFLATE_RATIO)):
            refuse(
                where,
                f"has a member {short(name)} of {member.compress_size:,} bytes that would become {member.file_size:,}",
                f"at most {most:,}, and {MAX_DEFLATE_RATIO} times what is stored",
            )
    total = sum(member.compress_size for member in members)
    if archive_bytes is not None and total > archive_bytes:
        refuse(where, f"has {archive_bytes:,} bytes, and members of {total:,}", "members that do not overlap")
