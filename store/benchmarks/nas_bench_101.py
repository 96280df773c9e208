"""NAS-Bench-101 as published: ``nasbench_only108.tfrecord`` and ``nasbench_full.tfrecord``, read without TensorFlow.

A file of TensorFlow records is a sequence of: the length (uint64, little-endian), its masked CRC32C, the content, and the masked
CRC32C of the content. The content is JSON, ``[hash, epochs, adjacency, operations, metrics]``: the matrix row by row as digits,
the operations separated by commas, and a protobuf message in base64 with line breaks. Of the message ::

    ModelMetrics     1: repeated EvaluationData
    EvaluationData   1: epoch   2: training seconds   3, 4, 5: accuracy in training, validation, test (fractions; doubles)

the last evaluation, after the whole schedule, is read. Every graph has three runs of each schedule, in separate records.
"""

import base64
import binascii
import json
import math
import struct
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NoReturn

import google_crc32c
import numpy as np
import pandas as pd

from sweetgrad.store.benchmarks.opening import Progress
from sweetgrad.store.spaces.graphs import live_edges

_MAX_RECORD = 1 << 20
_HEADER = struct.Struct("<QI")
_MASK = 0xA282EAD8

_OPS = {"conv1x1-bn-relu": "conv1x1", "conv3x3-bn-relu": "conv3x3", "maxpool3x3": "maxpool3x3"}
"""Names of the operations in the benchmark, and in our architecture strings."""


def is_records(path: Path) -> bool:
    """Whether a file begins like a file of TensorFlow records: a length and its checksum."""
    with path.open("rb") as file:
        start = file.read(_HEADER.size)
    return len(start) == _HEADER.size and _HEADER.unpack(start)[1] == _masked_crc(start[:8])


def read_records(path: Path, progress: Progress | None = None) -> pd.DataFrame:
    """Read the accuracies of all graphs after every schedule, averaged over the runs.

    Returns
    -------
    Tidy table with the splits ``valid`` and ``test`` of cifar10 in %, in the order of the file.

    Raises
    ------
    ValueError
        If a checksum is wrong, the file is truncated, or a record has other content; the message has its number.
    """
    numbers: dict[str, int] = {}
    rows: list[array[float]] = [array(code) for code in "llddd"]
    size = path.stat().st_size
    with path.open("rb") as file:
        for record, content in enumerate(_records(file, path)):
            where = f"{path}, record {record}"
            arch, epochs, metrics = _read_record(content, where)
            for column, value in zip(rows, (numbers.setdefault(arch, len(numbers)), epochs, *metrics), strict=True):
                column.append(value)
            if progress is not None and record % 1024 == 0:
                progress(file.tell(), size)
    if progress is not None:
        progress(size, size)
    frame = pd.DataFrame(
        {
            name: np.asarray(column)
            for name, column in zip(("arch", "epochs", "seconds", "valid", "test"), rows, strict=True)
        }
    )
    mean = frame.groupby(["arch", "epochs"], sort=True).mean().reset_index()
    archs = np.array(list(numbers), dtype=object)[mean["arch"]]
    parts = [
        # Three runs evaluated on 10,000 images: a step is 1/300 %, and digits after the fourth are errors of single precision.
        pd.DataFrame({"arch": archs, "dataset": "cifar10", "split": split, "epochs": mean["epochs"]}).assign(
            accuracy=(mean[split] * 100).round(4), seconds=mean["seconds"]
        )
        for split in ("valid", "test")
    ]
    return pd.concat(parts, ignore_index=True)


def arch_id(adjacency: str, operations: str) -> str:
    """Architecture string of a graph of the benchmark, with its dead vertices pruned.

    Raises
    ------
    ValueError
        If it is not a graph of the space, or has no path from its input to its output.

    Examples
    --------
    Vertex 2, a pool, leads nowhere:

    >>> arch_id("0110" "0001" "0000" "0000", "input,conv3x3-bn-relu,maxpool3x3,output")
    '101:conv3x3'
    """
    ops = operations.split(",")
    size = len(ops)
    if size < 2 or len(adjacency) != size * size or set(adjacency) - {"0", "1"}:
        raise ValueError(f"expected a matrix of {size} rows of 0 and 1 for {size} operations, got {adjacency!r}")
    unknown = [op for op in ops[1:-1] if op not in _OPS]
    if ops[0] != "input" or ops[-1] != "output" or unknown:
        raise ValueError(f"expected input, operations of {', '.join(_OPS)}, and output, got {operations!r}")
    pairs = [divmod(place, size) for place, digit in enumerate(adjacency) if digit == "1"]
    if any(source >= target for source, target in pairs):
        raise ValueError(f"expected edges to later vertices only, got {adjacency!r}")
    edges = set(live_edges(pairs, size - 1))
    if not edges:
        raise ValueError(f"no path leads from the input to the output in {adjacency!r}")
    live = sorted({vertex for edge in edges for vertex in edge})
    digits = ((source, target) in edges for place, source in enumerate(live) for target in live[place + 1 :])
    return "".join("01"[digit] for digit in digits) + ":" + ";".join(_OPS[ops[vertex]] for vertex in live[1:-1])


def _records(file: BinaryIO, path: Path) -> Iterator[bytes]:
    """Contents of the records, after checking their checksums."""
    number = 0
    while start := file.read(_HEADER.size):
        if len(start) < _HEADER.size:
            _cut_off(path, number)
        length, crc = _HEADER.unpack(start)
        if crc != _masked_crc(start[:8]):
            raise ValueError(f"{path}, record {number}: the checksum of its length is wrong: download the file again")
        if length > _MAX_RECORD:
            raise ValueError(f"{path}, record {number} has {length:,} bytes; expected at most {_MAX_RECORD:,}")
        content, crc_bytes = file.read(length), file.read(4)
        if len(content) < length or len(crc_bytes) < 4:
            _cut_off(path, number)
        if int.from_bytes(crc_bytes, "little") != _masked_crc(content):
            raise ValueError(f"{path}, record {number}: the checksum of its content is wrong: download the file again")
        yield content
        number += 1
    if not number:
        raise ValueError(f"{path} has no records")


def _masked_crc(content: bytes) -> int:
    crc: int = google_crc32c.value(content)
    return ((crc >> 15 | crc << 17) + _MASK) & 0xFFFFFFFF


def _cut_off(path: Path, number: int) -> NoReturn:
    raise ValueError(f"{path} ends inside record {number}: it is truncated, download the file again")


def _read_record(content: bytes, where: str) -> tuple[str, int, tuple[float, float, float]]:
    try:
        _hash, epochs, adjacency, operations, metrics = json.loads(content)
        if type(epochs) is not int or not all(isinstance(text, str) for text in (adjacency, operations, metrics)):
            raise ValueError("an entry has the wrong type")
        # The publishers' base64 has a line break after every 76 characters, and one at the end.
        message = base64.b64decode("".join(metrics.split()), validate=True)
        return arch_id(adjacency, operations), epochs, _last_metrics(message)
    except (ValueError, TypeError, RecursionError, binascii.Error, struct.error) as error:
        raise ValueError(
            f"{where}: expected [hash, epochs, adjacency, operations, metrics] of NAS-Bench-101 ({error}), got {content[:60]!r}"
        ) from error


def _last_metrics(message: bytes) -> tuple[float, float, float]:
    """Training time in seconds, and validation and test accuracy as fractions, at the last evaluation."""
    evaluations = [value for number, value in _fields(message) if number == 1 and isinstance(value, bytes)]
    if not evaluations:
        raise ValueError("the metrics have no evaluation")
    last = {number: value for number, value in _fields(evaluations[-1]) if isinstance(value, float)}
    try:
        seconds, valid, test = last[2], last[4], last[5]
    except KeyError as error:
        raise ValueError(f"the last evaluation lacks field {error}") from None
    if not (0 <= valid <= 1 and 0 <= test <= 1 and math.isfinite(seconds)):
        raise ValueError(f"the accuracies are {valid} and {test}, expected fractions")
    return seconds, valid, test


def _fields(message: bytes) -> Iterator[tuple[int, int | float | bytes]]:
    """Numbers and values of the fields of a protobuf message; all 64-bit fields of the benchmark are doubles."""
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        kind = tag & 7
        if kind == 0:
            value, at = _varint(message, at)
            yield tag >> 3, value
        elif kind == 1:
            yield tag >> 3, struct.unpack_from("<d", message, at)[0]
            at += 8
        elif kind == 2:
            length, at = _varint(message, at)
            if at + length > len(message):
                raise ValueError("the metrics are truncated")
            yield tag >> 3, message[at : at + length]
            at += length
        elif kind == 5:
            at += 4
        else:
            raise ValueError(f"the metrics have a field of kind {kind}")


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(message):
            raise ValueError("the metrics are truncated")
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError("the metrics have a number of more than 64 bits")
