"""Pure checks of a zip archive: of its directory before any member is read, and of the header in front of each member."""

import stat
import struct
from collections.abc import Iterable, Sequence
from itertools import pairwise
from zipfile import ZIP_DEFLATED, ZIP_STORED, BadZipFile, ZipInfo

from sweetgrad.store.access._limits import (
    MAX_CHUNK_BYTES,
    MAX_DEFLATE_RATIO,
    MAX_DEPTH,
    MAX_DOCUMENT_BYTES,
    MAX_SHARD_BYTES,
    refuse,
    short,
)
from sweetgrad.store.access._litter import is_litter

_HEADER = struct.Struct("<4s5H3I2H")
_UTF_8 = 1 << 11


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


def store_members(members: Iterable[ZipInfo]) -> dict[str, ZipInfo]:
    """Members of an archive by their place in the store that is in it: the archive itself, or the one folder that holds one.

    A desktop zips a folder with its name in front of all that is in it, and files of its own beside it.
    """
    named = {member.filename: member for member in members if not is_litter(member.filename)}
    groups = {name.removesuffix("zarr.json") for name in named if name == "zarr.json" or name.endswith("/zarr.json")}
    tops = [group for group in groups if not any(group != other and group.startswith(other) for other in groups)]
    if len(tops) != 1:
        return named
    (top,) = tops
    return {name.removeprefix(top): member for name, member in named.items() if name.startswith(top) and name != top}


def member_ends(members: Iterable[ZipInfo], directory: int) -> dict[int, int]:
    """Where each member ends at the latest, by where it begins: at the next member, or at the directory behind all."""
    return dict(pairwise([*sorted({member.header_offset for member in members}), directory]))


def header_size(member: ZipInfo) -> int:
    """Bytes of the header in front of a member, without the extra fields, which may be others than in the directory."""
    return _HEADER.size + len(_stored_name(member))


def data_offset(header: bytes, member: ZipInfo, end: int) -> int:
    """Where the data of a member begin, by its header; what the directory says must be true.

    Parameters
    ----------
    header
        `header_size` bytes, or more, from ``member.header_offset`` on.
    member
        Entry of the directory.
    end
        Of `member_ends`.

    Raises
    ------
    BadZipFile
        If there is another member at that place, or the data would go beyond the end.
    """
    if len(header) < header_size(member) or not header.startswith(b"PK\3\4"):
        raise BadZipFile(f"{short(member.filename)} has no header where the directory says")
    _, _, flags, *_, len_name, len_extra = _HEADER.unpack_from(header)
    name = header[_HEADER.size : _HEADER.size + len_name]
    if name != _stored_name(member) or (flags ^ member.flag_bits) & _UTF_8:
        raise BadZipFile(f"the directory says that {short(member.filename)} lies where {short(repr(name))} is")
    begin: int = member.header_offset + _HEADER.size + len_name + len_extra
    if begin + member.compress_size > end:
        raise BadZipFile(f"{short(member.filename)} would end behind the beginning of the next member")
    if member.compress_type == ZIP_STORED and member.compress_size != member.file_size:
        raise BadZipFile(
            f"{short(member.filename)} is stored in {member.compress_size:,} bytes, and would be {member.file_size:,}"
        )
    return begin


def _stored_name(member: ZipInfo) -> bytes:
    return member.orig_filename.encode("utf-8" if member.flag_bits & _UTF_8 else "cp437")
