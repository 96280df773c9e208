"""Check the rows of a table, block by block and one shard in memory at a time, and the stamp of the last finished run."""

import hashlib
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from typing import Any

import numpy as np
import xarray as xr
import zarr
from numpy.typing import NDArray

from sweetgrad.store.access import command_line
from sweetgrad.store.accuracy_table import table_digests
from sweetgrad.store.checks.metadata import children, delete_tree, read_metadata
from sweetgrad.store.checks.problem import DAMAGE, Node, Problem, TableCheck, reason
from sweetgrad.store.format.arrays import write_array
from sweetgrad.store.format.bins import bin_bounds
from sweetgrad.store.format.blocks import ACTIVATIONS, COUNTS, TRAINING, VARIABLES, Block, axis_variables, profile_block
from sweetgrad.store.format.digests import content_digest
from sweetgrad.store.format.schema import KINDS, LEAN, STATUS, Variable
from sweetgrad.store.format.statistics import STATISTICS
from sweetgrad.store.groups import BLOCK_FOLDERS, Store, has_rows, read_block
from sweetgrad.store.shards import Shard, Table, first_file, read_array
from sweetgrad.store.training import SHARD_SIZE, TRAINING_COORDINATES, TRAINING_VARIABLES
from sweetgrad.store.upgrade import accepted_digests

_SINCE_FORMAT_2 = ("message", "digest")
"""Variables that blocks of format 1 may lack."""


def check_profile_rows(check: TableCheck) -> Iterator[None]:
    """Check the coordinates and the rows of a profile, counts first; yields after every shard of the counts."""
    if not check.shards:
        return
    check.arch = _check_coordinates(check)
    yield from _check_rows(check, COUNTS)
    inside = [f"{folder}/{name}" for folder in BLOCK_FOLDERS for name in children(check.root, f"{check.name}/{folder}")]
    for place in inside:
        path = f"{check.name}/{place}"
        if place.endswith(".json") or not (has_rows(check.root, path) or children(check.root, path)):
            continue
        block = _block_at(check, place)
        coordinates = [variable for axis in block.axes for variable in axis_variables(axis)]
        wrong = _wrong_arrays(check, path, {v.name: v for v in (*block.variables, *coordinates)})
        if wrong and (has_rows(check.root, path) or "status" not in wrong):  # otherwise its creation was interrupted
            name, error = next(iter(wrong.items()))
            what = f"{place}/{name}: {error}. --repair deletes {place}; run it again."
            check.problems.append(Problem(check.name, None, (), what, True))
            check.repairs[path] = partial(delete_tree, check.root, path)
        elif not wrong:
            _check_axes(check, block)
            for _ in _check_rows(check, block):
                pass


def _check_axes(check: TableCheck, block: Block) -> None:
    """Check that the names along the axes of a block, and their layers, can be decoded, and that no name is there twice."""
    for axis in block.axes:
        for variable in axis_variables(axis):
            try:
                values = read_array(check.group, f"{block.path}/{variable.name}", check.location)
                twice = variable.name == axis and len(set(values.tolist())) < len(values)
                wrong = "has a name twice" if twice else ""
            except DAMAGE as error:
                wrong = f"cannot be decoded ({reason(error)})"
            if wrong:
                what = f"{block.path}/{variable.name} {wrong}. Copy it from a backup."
                check.problems.append(Problem(check.name, None, (), what, False))


def _block_at(check: TableCheck, place: str) -> Block:
    """The block at a path; without its settings if its group cannot be read."""
    try:
        group = check.group[place]
        assert isinstance(group, zarr.Group)
        return read_block(place, group)
    except DAMAGE:
        name = place.partition("/")[2]
        return profile_block(name) if place.startswith("estimators/") else STATISTICS.get(name) or profile_block(name)


def check_training_rows(check: TableCheck) -> None:
    """Check the arrays and the rows of a table of trainings."""
    wrong = _wrong_arrays(check, check.name, TRAINING_VARIABLES)
    again = f"delete {check.name} in the store and run `{command_line('train', check.location)}` again"
    advice = f"Copy that file from a backup, or {again}."
    for name, what in wrong.items():
        check.problems.append(Problem(check.name, None, (), f"{name}: {what}. {advice}", False))
    if wrong:
        return
    for variable in TRAINING_COORDINATES:
        try:
            values = read_array(check.group, variable.name, check.location)
            check.arch = values if variable.name == "arch" else check.arch
        except DAMAGE as error:
            what = f"{variable.name} cannot be decoded ({reason(error)}). {advice}"
            check.problems.append(Problem(check.name, None, (), what, False))
    for _ in _check_rows(check, TRAINING):
        pass


def training_check(store: Store, node: Node) -> TableCheck:
    """An empty `TableCheck` for a table of trainings."""
    shape = read_metadata(store.root, f"{node.path}/status")[0].get("shape") or [0]
    return TableCheck(store, node, SHARD_SIZE, int(shape[0]))


def check_accuracy(store: Store, node: Node) -> list[Problem]:
    """Check that the accuracy table of a space can be decoded, and that its rows match their digests."""
    root = store.root
    importing = command_line(
        "accuracy", "import", store.location, "--space", node.path.partition("/")[0], "--from", "FILE"
    )
    advice = f"Delete {node.path} in the store and import its sources again with `{importing}`."
    problems = [Problem(node.path, None, (), f"{node.error}. {advice}", False)] if node.error else []
    for name in children(root, node.path):
        try:
            np.asarray(root[f"{node.path}/{name}"][...])  # type: ignore[index]
        except DAMAGE as error:
            problems.append(
                Problem(node.path, None, (), f"{name} cannot be decoded ({reason(error)}). {advice}", False)
            )
    if problems or store.version < 2:
        return problems
    try:
        group: Any = root[node.path]
        names = [name for name, array in group.arrays() if len(array.shape) != 1] + ["arch", "digest"]
        table = xr.Dataset(
            {name: (group[name].metadata.dimension_names, np.asarray(group[name][...])) for name in names}
        )
        rows = np.flatnonzero(table_digests(table) != table["digest"].values)
    except DAMAGE as error:
        return [Problem(node.path, None, (), f"cannot be read ({reason(error)}). {advice}", False)]
    if not rows.size:
        return []
    what = f"digest: the content does not match it. {advice}"
    return [Problem(node.path, None, tuple(rows.tolist()), what, False)]


def _check_coordinates(check: TableCheck) -> NDArray[Any] | None:
    """Check the coordinates; returns the architecture strings, or None if they cannot be read."""
    lower, upper = bin_bounds() if check.store.version > 1 else _bounds_of_format_1()
    index = np.arange(check.num_archs, dtype="int32")
    known = {"arch_index": index, "kind": np.array(KINDS, object), "bin_lower": lower, "bin_upper": upper}
    values: dict[str, NDArray[Any]] = {}
    for variable in (v for v in VARIABLES.values() if v.role == "coord"):
        name = variable.name
        try:
            values[name] = read_array(check.group, name, check.location)
            wrong = (
                ""
                if name not in known or _equal(values[name], known[name])
                else "does not have the values of the format"
            )
        except DAMAGE as error:
            wrong = f"cannot be decoded ({reason(error)})"
        if wrong and name in known:
            check.add(f"{name}: {wrong}.", repair=_coordinate_writer(check.group, name, known[name]))
        elif wrong:
            check.add(f"{name}: {wrong}; digests were not checked. Copy {check.name}/{name} from a backup.")
    arch, spec = values.get("arch"), check.node.attributes["spec"]
    if arch is not None and isinstance(spec, dict):
        sha256 = hashlib.sha256("".join(f"{name}\n" for name in arch).encode()).hexdigest()
        if sha256 != spec.get("arch_sha256"):
            check.add(f"arch: the strings do not match the SHA-256 in the spec. Copy {check.name}/arch from a backup.")
    return arch


def _bounds_of_format_1() -> Iterator[NDArray[np.float64]]:
    return (bounds.astype(np.float32).astype(np.float64) for bounds in bin_bounds())


def _equal(a: NDArray[Any], b: NDArray[Any]) -> bool:
    return np.array_equal(a, b, equal_nan=b.dtype.kind == "f")


def _coordinate_writer(group: zarr.Group, name: str, values: NDArray[Any]) -> Callable[[], None]:
    def write() -> None:
        write_array(group, name, slice(None), values)

    return write


def _wrong_arrays(check: TableCheck, path: str, table: Mapping[str, Variable]) -> dict[str, str]:
    """Arrays of a group that are missing or have the wrong shape, each with what is wrong."""
    _, broken = read_metadata(check.root, path)
    wrong = {"group": broken} if broken else {}
    for name, variable in table.items():
        metadata, error = read_metadata(check.root, f"{path}/{name}")
        if error and check.store.version < 2 and name in _SINCE_FORMAT_2 and "missing" in error:
            continue
        shape, rows = metadata.get("shape"), check.num_archs
        if (
            not error
            and variable.dims[0] == "arch"
            and (not shape or shape[0] != rows or len(shape) != len(variable.dims))
        ):
            error = f"shape is {shape}, expected {len(variable.dims)} dimensions and {rows} architectures"
        if error:
            wrong[name] = error
    return wrong


def _check_rows(check: TableCheck, block: Block) -> Iterator[None]:
    """Check every shard of a block that has a row, then the stamp; yields after every shard.

    Rows that were not run are not checked; the run that measures them rewrites the shard.
    """
    group = check.group[block.path] if block.path else check.group
    assert isinstance(group, zarr.Group)
    # An interrupted upgrade leaves digests of some rows; in format 1, only counts and activations had digests.
    has_digest = check.store.version > 1 or block in (COUNTS, ACTIVATIONS)
    names = [v.name for v in block.variables if v.name in group and (v.name != "digest" or has_digest)]
    status, digest = np.zeros(check.num_archs, np.uint8), np.zeros(check.num_archs, np.uint64)
    num_before, readable = len(check.problems), True
    until = check.node.attributes.get(LEAN, check.num_archs)
    run = _rows_run(check, group)
    for shard in check.shards:
        if run[shard.all_rows].any():
            left_out = {"grad_count"} if block == COUNTS and shard.start >= until else set()
            wanted = [name for name in names if name not in left_out]
            values = _read_shard(check, block, group, shard, wanted)
            if len(values) < len(wanted):
                readable = False
            else:
                status[shard.all_rows], digest[shard.all_rows] = values["status"], values.get("digest", 0)
                for rows, what in _failing_rows(check, block, shard, values):
                    _add(check, block, shard, rows + shard.start, f"{_prefix(block)}{what}.")
        yield
    if readable and has_digest:
        agree = all(problem.shard is None for problem in check.problems[num_before:])
        _check_stamp(check, group.attrs.asdict(), status, digest, agree=agree, prefix=_prefix(block))


def _prefix(block: Block) -> str:
    """Prefix of messages about a block: its path, unless it is the table itself."""
    return f"{block.path}/" if block.path else ""


def _rows_run(check: TableCheck, group: zarr.Group) -> NDArray[np.bool_]:
    """Rows that may have been run; all rows of a shard whose status cannot be read, so that the shard is checked."""

    def read(shard: Shard | None = None) -> NDArray[np.bool_]:
        status = read_array(group, "status", check.location, shard=shard)
        return np.asarray(status != STATUS["not run"], dtype=bool)

    try:
        return read()
    except DAMAGE:
        run = np.ones(check.num_archs, dtype=bool)
        for shard in check.shards:
            with suppress(*DAMAGE):
                run[shard.all_rows] = read(shard)
        return run


def _read_shard(
    check: TableCheck, block: Block, group: zarr.Group, shard: Shard, names: list[str]
) -> dict[str, NDArray[Any]]:
    """Variables of a shard by name; one that cannot be decoded is reported, and left out."""
    values = {}
    for name in names:
        try:
            values[name] = read_array(group, name, check.location, shard=shard)
        except DAMAGE as error:
            file = f"{name}/{first_file(group[name], shard)}"  # type: ignore[arg-type]  # zarr: or a group
            what = f"{_prefix(block)}{name}: {file} cannot be decoded ({reason(error)})."
            _add(check, block, shard, np.arange(shard.start, shard.stop), what)
    return values


def _failing_rows(
    check: TableCheck, block: Block, shard: Shard, values: Mapping[str, NDArray[Any]]
) -> Iterator[tuple[NDArray[np.int64], str]]:
    """Positions in a shard that fail a check, and which check; only failing checks are returned.

    Rows that were not run are ignored: after a crash between the writes of a shard, they may have any content.
    """
    status = values["status"]
    checks = [(~np.isin(status, list(STATUS.values())), f"status is not one of {STATUS}")]
    ok = status == STATUS["ok"]
    if block == COUNTS and "grad_count" in values:
        count = values["grad_count"]
        checks += [
            (
                ok & _differs(count.sum(-1, dtype=np.int64), values["num_params"]),
                "grad_count: the sum over the bins is not num_params",
            ),
            (
                ok & _differs(count.sum(1, dtype=np.int64), values["grad_count_network"]),
                "grad_count_network: is not the sum of grad_count over the layers",
            ),
        ]
    elif block == COUNTS:  # a lean release
        sums = values["grad_count_network"].sum(-1, dtype=np.int64)
        differs = _differs(sums, values["num_params"].sum(1, dtype=np.int64))
        checks.append(
            (ok & differs, "grad_count_network: the sum over the bins is not that of num_params over the layers")
        )
    if (
        check.arch is not None and "digest" in values and (block != COUNTS or "grad_count" in values)
    ):  # without the strings, digests cannot be computed; that was reported
        run = np.isin(status, [STATUS["ok"], STATUS["failed"]])
        missing = {"message": np.full(len(status), "", object)}  # for format 1
        known = accepted_digests(block, check.arch[shard.all_rows], {**missing, **values}, version=check.store.version)
        wrong = run & np.all([digest != values["digest"] for digest in known], axis=0)
        checks.append((wrong, "digest: the content does not match it"))
    for failing, what in checks:
        if failing.any():
            yield np.flatnonzero(failing), what


def _differs(a: NDArray[Any], b: NDArray[Any]) -> NDArray[np.bool_]:
    """Whether two arrays differ anywhere in a row."""
    return np.asarray((a != b.astype(np.int64)).reshape(len(a), -1).any(axis=1))


def _add(check: TableCheck, block: Block, shard: Shard, rows: NDArray[np.int64], what: str) -> None:
    check.add(
        what,
        shard=shard.index,
        rows=tuple(rows.tolist()),
        repair=partial(_clear, check, block, shard),
        key=f"{block.path} shard {shard.index}",
        command=block.command,
    )


def _clear(check: TableCheck, block: Block, shard: Shard) -> None:
    table = Table(check.store, check.name)
    with table.lock(shard.index, run=uuid.uuid4().hex) as lock:
        table.clear(block, shard, lock=lock)


def _check_stamp(
    check: TableCheck,
    stamp: Mapping[str, Any],
    status: NDArray[np.uint8],
    digest: NDArray[np.uint64],
    *,
    agree: bool,
    prefix: str,
) -> None:
    """Compare the rows with the stamp; rows that an interrupted run has added since are not a problem.

    Parameters
    ----------
    check
        Where problems are recorded.
    stamp
        Attributes of the group.
    status, digest
        Values of all rows.
    agree
        Whether all rows match their own digests; otherwise the digest of the content adds nothing.
    prefix
        Prefix of messages: the group, unless it is the profile itself.
    """
    if "content_digest" not in stamp:
        return
    counts, sha256 = (stamp.get("num_ok", 0), stamp.get("num_failed", 0)), stamp["content_digest"]
    if not all(type(count) is int for count in counts) or not isinstance(sha256, str):
        shown = f"{counts[0]!r}, {counts[1]!r} and {sha256!r}"
        check.add(f"{prefix}num_ok, num_failed and content_digest are {shown}, which is invalid.", repair=lambda: None)
        return
    ok, failed = int((status == STATUS["ok"]).sum()), int((status == STATUS["failed"]).sum())
    stamped_ok, stamped_failed = counts
    if ok + failed < stamped_ok + stamped_failed or ok < stamped_ok:
        holes = np.flatnonzero(status == STATUS["not run"])
        # A digest without a status marks a row that was lost; without such digests, it may be any row that was not run.
        lost = holes[digest[holes] != 0] if (digest[holes] != 0).any() else holes
        word = "complete" if stamp.get("complete") else "unfinished"
        check.add(
            f"{prefix}status: was stamped {word} with {stamped_ok} rows ok and {stamped_failed} failed, and now has {ok} and "
            f"{failed}: rows are missing. The next run measures them again.",
            rows=tuple(lost.tolist()),
            repair=lambda: None,
        )
    elif agree and (ok, failed) == (stamped_ok, stamped_failed) and content_digest(digest, status) != sha256:
        check.add(
            f"{prefix}content_digest: rows were replaced after the stamp, although each matches its own digest.",
            repair=lambda: None,
        )
