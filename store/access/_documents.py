"""Pure checks of a ``zarr.json`` and of what it declares, before zarr parses it."""

import json
import math
from typing import Any

import xarray as xr

from sweetgrad.store.access._chunks import ChunkLimits
from sweetgrad.store.access._limits import (
    MAX_ARRAY_BYTES,
    MAX_CHUNK_BYTES,
    MAX_CHUNKS_IN_SHARD,
    MAX_DEPTH,
    MAX_DOCUMENT_BYTES,
    MAX_SHARD_BYTES,
    MAX_SHARDS,
    MAX_SIZES,
    MAX_TEXT_BYTES,
    refuse,
    short,
)
from sweetgrad.store.format.blocks import VARIABLES

_DTYPES = {
    "bool": 1,
    **{f"{kind}{bits}": bits // 8 for kind in ("int", "uint") for bits in (8, 16, 32, 64)},
    "float32": 4,
    "float64": 8,
    "string": 16,  # in memory, without the text itself
}


def parse_json(raw: bytes, *, where: str) -> Any:
    """Parse a ``zarr.json`` of bounded size and depth; None if it is not valid JSON, which is left for zarr to report.

    Raises
    ------
    NotAStoreError
        If it is larger or deeper than any that sweetgrad writes, or contains NaN or Infinity, which are not valid JSON.

    Examples
    --------
    >>> parse_json(b'{"zarr_format": 3}', where="zarr.json")
    {'zarr_format': 3}
    """
    check_document_size(len(raw), where=where)
    try:
        document = json.loads(
            raw, parse_constant=lambda word: refuse(where, f"contains {word}", "numbers that are valid JSON")
        )
    except RecursionError:
        refuse(where, "is nested too deeply", f"at most {MAX_DEPTH} levels of lists and dictionaries")
    except ValueError:
        return None
    if document is None:
        refuse(where, "is null", "the metadata of a group or an array")
    level, depth = [document], 0
    while level := [each for node in level for each in _inside(node)]:
        depth += 1
        if depth > MAX_DEPTH:
            refuse(where, f"is nested deeper than {MAX_DEPTH}", f"at most {MAX_DEPTH} levels of lists and dictionaries")
    return document


def check_document_size(size: int, *, where: str) -> None:
    """Raise NotAStoreError if a ``zarr.json`` has more bytes than may be read."""
    if size > MAX_DOCUMENT_BYTES:
        refuse(
            where,
            f"has more than {MAX_DOCUMENT_BYTES:,} bytes",
            "fewer: store large attributes in separate files",
        )


def _inside(node: Any) -> list[Any]:
    values = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    return [value for value in values if isinstance(value, dict | list)]


def check_document(document: Any, *, path: str, where: str) -> dict[str, ChunkLimits]:
    """Check a parsed ``zarr.json``, and the consolidated metadata in it.

    Parameters
    ----------
    document
        As returned by `parse_json`.
    path
        Path of its group or array in the store; empty for the root.
    where
        Name of the file in error messages.

    Returns
    -------
    Limits of the files of every array that it describes, by path.

    Raises
    ------
    NotAStoreError
        If an array exceeds the limits, or is stored in a way that sweetgrad never writes.
    """
    if document is None:
        return {}
    if not isinstance(document, dict):
        refuse(where, f"is {short(document)}", "the metadata of a group or an array")
    if document.get("zarr_format") not in (None, 3):
        refuse(where, f"zarr_format is {short(document['zarr_format'])}", "3")
    found = {}
    if document.get("node_type") == "array" and path:  # a single array is not a store
        found[path] = check_array(document, where=where)
    consolidated = document.get("consolidated_metadata")
    nodes = consolidated.get("metadata") if isinstance(consolidated, dict) else None
    for name, node in nodes.items() if isinstance(nodes, dict) else ():
        if {"", ".", ".."} & set(name.split("/")) or "\\" in name or name.count("/") > MAX_DEPTH:
            refuse(where, f"has metadata of {short(name)}", "paths inside the store")
        found |= check_document(node, path=f"{path}/{name}".lstrip("/"), where=f"{where}, {name}")
    return found


def check_array(document: dict[str, Any], *, where: str) -> ChunkLimits:
    """Check the metadata of one array.

    Examples
    --------
    >>> codecs = [{"name": "bytes"}, {"name": "numcodecs.pickle"}]
    >>> check_array({"shape": [2], "data_type": "int8", "codecs": codecs}, where="a/zarr.json")
    Traceback (most recent call last):
    sweetgrad.store.errors.NotAStoreError: a/zarr.json: the codecs are ['bytes', 'numcodecs.pickle']; expected ...
    """
    dtype, fill = document.get("data_type"), document.get("fill_value")
    if not isinstance(dtype, str) or dtype not in _DTYPES:
        refuse(where, f"data_type is {short(dtype)}", f"one of {', '.join(_DTYPES)}")
    if (isinstance(fill, str) and len(fill) > 32) or isinstance(fill, dict | list):
        # NumPy would copy a long string into every row that was not run.
        refuse(where, f"fill_value is {short(fill)}", "a number or an empty string")
    inner, codecs = _codecs(document.get("codecs"), where)
    shape = _sizes(document.get("shape"), where, "shape")
    file_shape = _sizes(_configured(document.get("chunk_grid"), "regular", "chunk_shape"), where, "chunk_shape")
    chunk_shape = file_shape if inner is None else _sizes(inner, where, "chunk_shape of a shard")
    if not len(shape) == len(file_shape) == len(chunk_shape) or 0 in (*file_shape, *chunk_shape):
        refuse(
            where, f"shape {shape} has chunks of {file_shape}, of {chunk_shape}", "one chunk size for each dimension"
        )
    if _configured(document.get("chunk_key_encoding"), "default", "separator") not in (None, "/"):
        refuse(where, f"chunk_key_encoding is {short(document['chunk_key_encoding'])}", "default, with the separator /")
    names = document.get("dimension_names") or [None] * len(shape)
    if not isinstance(names, list) or not all(name is None or isinstance(name, str) for name in names):
        refuse(where, f"dimension_names is {short(names)}", "strings")
    for name, size in zip(names, shape, strict=False):
        if size > MAX_SIZES.get(name, size):
            refuse(where, f"dimension {name} declares {size:,}", f"at most {MAX_SIZES[name]:,}")
    num_files = math.prod(math.ceil(a / b) for a, b in zip(shape, file_shape, strict=True))
    num_chunks = (
        0 if inner is None else math.prod(math.ceil(a / b) for a, b in zip(file_shape, chunk_shape, strict=True))
    )
    num_values, size = math.prod(chunk_shape), _DTYPES[dtype]
    for count, most, what in (
        (math.prod(shape) * size, MAX_ARRAY_BYTES, "bytes"),
        (math.prod(file_shape) * size, MAX_SHARD_BYTES, "bytes in a shard"),
        (num_values * size, MAX_CHUNK_BYTES, "bytes in a chunk"),
        (num_files, MAX_SHARDS, "files"),
        (num_chunks, MAX_CHUNKS_IN_SHARD, "chunks in a shard"),
    ):
        if count > most:
            refuse(
                where,
                f"shape {shape} of {dtype}, in chunks of {file_shape}, declares {count:,} {what}",
                f"at most {most:,}",
            )
    is_text = dtype == "string"
    if is_text != (codecs[0] == "vlen-utf8"):
        refuse(where, f"{dtype} is encoded by {codecs[0]}", "strings encoded by vlen-utf8, and numbers by bytes")
    most_text = min(MAX_CHUNK_BYTES, 4 + num_values * (4 + MAX_TEXT_BYTES))
    return ChunkLimits(
        num_values=num_values,
        decoded_bytes=most_text if is_text else num_values * size,
        num_chunks=num_chunks,
        is_text=is_text,
        is_blosc="blosc" in codecs,
        is_crc="crc32c" in codecs,
        first_dim=next(iter(names), None),
        num_rows=next(iter(shape), 1),
        rows_per_file=next(iter(file_shape), 1),
    )


def _codecs(codecs: Any, where: str) -> tuple[Any, list[str]]:
    """Chunk shape inside a shard (None: not sharded), and the names of the codecs of a chunk. No other codec is looked up."""
    names, inner = _names(codecs), None
    if names == ["sharding_indexed"]:
        configuration = codecs[0].get("configuration")
        configuration = configuration if isinstance(configuration, dict) else {}
        index = _names(configuration.get("index_codecs"))
        if index != ["bytes", "crc32c"] or configuration.get("index_location", "end") != "end":
            refuse(where, f"the index of a shard is {short(index)}", "bytes and crc32c, at the end")
        inner, names = configuration.get("chunk_shape"), _names(configuration.get("codecs"))
    first = names[:1] in (["bytes"], ["vlen-utf8"])
    if not first or names[1:] not in ([], ["blosc"], ["crc32c"], ["blosc", "crc32c"]):
        refuse(where, f"the codecs are {short(names)}", "bytes or vlen-utf8, then blosc or crc32c or both or neither")
    return inner, names


def _names(codecs: Any) -> list[Any]:
    return (
        [codec.get("name") if isinstance(codec, dict) else codec for codec in codecs]
        if isinstance(codecs, list)
        else []
    )


def _configured(part: Any, name: str, key: str) -> Any:
    """One entry in the configuration of a part of the metadata, if that part has the expected name."""
    if not isinstance(part, dict) or part.get("name") != name:
        return part
    configuration = part.get("configuration")
    return configuration.get(key) if isinstance(configuration, dict) else None


def _sizes(sizes: Any, where: str, what: str) -> tuple[int, ...]:
    if not isinstance(sizes, list) or len(sizes) > 8 or not all(type(size) is int and size >= 0 for size in sizes):
        refuse(where, f"{what} is {short(sizes)}", "up to 8 non-negative integers")
    return tuple(sizes)


def check_profile(profile: xr.Dataset, shard_size: Any, *, where: str) -> None:
    """Check that the variables of a profile, as opened, have the dimensions of the schema.

    Raises
    ------
    NotAStoreError
        If a variable has other dimensions, ``kind`` or ``bin`` has another length, or ``shard_size`` is invalid.
    """
    for name in profile.variables:
        found, variable = profile[name], VARIABLES.get(str(name))
        if variable is not None and found.dims != variable.dims:
            refuse(where, f"{name} has the dimensions {found.dims}", f"{variable.dims}")
    for dim in ("kind", "bin"):
        if profile.sizes.get(dim, MAX_SIZES[dim]) != MAX_SIZES[dim]:
            refuse(where, f"dimension {dim} declares {profile.sizes[dim]:,}", f"{MAX_SIZES[dim]:,}")
    check_num_shards(profile.sizes.get("arch", 0), shard_size, where=where)


def check_num_shards(num_archs: int, shard_size: Any, *, where: str) -> int:
    """Return the attribute ``shard_size`` of a profile if it is valid.

    Raises
    ------
    NotAStoreError
        If it is not a positive integer, or would make more shards than are allowed.
    """
    if type(shard_size) is not int or shard_size < 1 or math.ceil(num_archs / shard_size) > MAX_SHARDS:
        refuse(
            where,
            f"shard_size is {short(shard_size)} for {num_archs:,} architectures",
            f"a positive integer that makes at most {MAX_SHARDS:,} shards",
        )
    return int(shard_size)
