"""Groups that keep a digest for each row beside their columns: estimators, trainings and accuracy tables."""

import uuid
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from sweetgrad.store._blocks import clear_rows, columns_of
from sweetgrad.store._planning import Shard
from sweetgrad.store._reading import read_array
from sweetgrad.store.access import Location, command_line
from sweetgrad.store.checks._content import rows_run
from sweetgrad.store.checks._problem import DAMAGE, Problem, ProfileCheck, reason
from sweetgrad.store.checks._stamp import check_stamp
from sweetgrad.store.checks._tree import Node, children, delete_tree, read_metadata
from sweetgrad.store.estimators import ACTIVATION_VARIABLES, estimator_variables
from sweetgrad.store.format.digests import accepted_digests, column_digests
from sweetgrad.store.format.schema import STATUS, Variable
from sweetgrad.store.groups import has_rows
from sweetgrad.store.locks import lock_shard
from sweetgrad.store.training import SHARD_SIZE, TRAINING_VARIABLES
from sweetgrad.store.upgrade import format_of

_SINCE_FORMAT_2 = ("message", "digest")
"""Variables that groups of format 1 may lack."""


def check_estimators(profile: ProfileCheck) -> None:
    """Check the rows of every estimator of a profile whose own rows were checked before."""
    for name in children(profile.root, f"{profile.name}/estimators"):
        path = f"{profile.name}/estimators/{name}"
        prefix = f"estimators/{name}/"
        if name.endswith(".json") or not (has_rows(profile.root, path) or children(profile.root, path)):
            continue
        table = estimator_variables(name)
        wrong = _wrong_arrays(profile, path, table)
        if wrong and (has_rows(profile.root, path) or "status" not in wrong):  # else it is a creation that was cut off
            what = f"{prefix}{next(iter(wrong))}: {next(iter(wrong.values()))}. --repair deletes the estimator; run it again."
            profile.problems.append(Problem(profile.name, None, (), what, True))
            profile.repairs[path] = lambda path=path: delete_tree(profile.root, path)  # type: ignore[misc]
        elif not wrong:
            _check_rows(profile, path, table, prefix=prefix)


def check_training(check: ProfileCheck) -> None:
    """Check the rows of a group of trainings."""
    wrong = _wrong_arrays(check, check.name, TRAINING_VARIABLES)
    again = f"delete {check.name} in the store and run `{command_line('train', check.location)}` again"
    advice = f"Copy that file from a backup, or {again}."
    for name, what in wrong.items():
        check.problems.append(Problem(check.name, None, (), f"{name}: {what}. {advice}", False))
    if wrong:
        return
    group = check.root[check.name]
    assert isinstance(group, zarr.Group)
    for name in ("arch_index", "split", "arch"):
        try:
            check.arch = read_array(group, name, check.location)
        except DAMAGE as error:
            what = f"{name} cannot be decoded ({reason(error)}). {advice}"
            check.problems.append(Problem(check.name, None, (), what, False))
            check.arch = None
    table = {name: variable for name, variable in TRAINING_VARIABLES.items() if variable.role == "row"}
    _check_rows(check, check.name, table)


def training_check(root: zarr.Group, location: Location, node: Node) -> ProfileCheck:
    """What gathers the problems of a group of trainings."""
    shape = read_metadata(root, f"{node.path}/status")[0].get("shape") or [0]
    return ProfileCheck(root, location, node, SHARD_SIZE, int(shape[0]), again="sweetgrad train")


def check_accuracy(root: zarr.Group, location: Location, node: Node) -> list[Problem]:
    """Check that the accuracy table of a space decodes, and that its rows have their digests."""
    importing = command_line("accuracy", "import", location, "--space", node.path.partition("/")[0], "--from", "FILE")
    advice = f"Delete {node.path} in the store and import its sources again with `{importing}`."
    problems = [Problem(node.path, None, (), f"{node.error}. {advice}", False)] if node.error else []
    for name in children(root, node.path):
        try:
            np.asarray(root[f"{node.path}/{name}"][...])  # type: ignore[index]
        except DAMAGE as error:
            problems.append(
                Problem(node.path, None, (), f"{name} cannot be decoded ({reason(error)}). {advice}", False)
            )
    if problems or format_of(root) < 2:
        return problems
    try:
        group: Any = root[node.path]
        stored, arch = (np.asarray(group[name][...]) for name in ("digest", "arch"))
        rows = np.flatnonzero(column_digests(arch, columns_of(group, location)) != stored)
    except DAMAGE as error:
        return [Problem(node.path, None, (), f"cannot be read ({reason(error)}). {advice}", False)]
    if not rows.size:
        return []
    what = f"digest: the content is not what was written with it. {advice}"
    return [Problem(node.path, None, tuple(rows.tolist()), what, False)]


def _wrong_arrays(check: ProfileCheck, path: str, table: Mapping[str, Variable]) -> dict[str, str]:
    """Arrays of a group that are missing or have another shape than the group needs, and what is wrong."""
    _, broken = read_metadata(check.root, path)
    wrong = {"group": broken} if broken else {}
    for name, variable in table.items():
        metadata, error = read_metadata(check.root, f"{path}/{name}")
        if error and format_of(check.root) < 2 and name in _SINCE_FORMAT_2 and "missing" in error:
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


def _check_rows(check: ProfileCheck, path: str, table: Mapping[str, Variable], *, prefix: str = "") -> None:
    """Check every shard of a group that holds a row: that its columns decode, and have the digests that were stored with them."""
    group = check.root[path]
    assert isinstance(group, zarr.Group)
    # An upgrade that was cut off has left digests of some rows; in format 1, activations alone had them.
    has_digest = format_of(check.root) > 1 or ACTIVATION_VARIABLES.keys() <= table.keys()
    names = [name for name in table if name in group and (name != "digest" or has_digest)]
    status, digest = np.zeros(check.num_archs, np.uint8), np.zeros(check.num_archs, np.uint64)
    run, readable, agree = rows_run(check, group), True, True
    for shard in check.shards:
        here = slice(shard.start, shard.stop)
        if not run[here].any():
            continue
        values = {}
        for name in names:
            try:
                values[name] = read_array(group, name, check.location, shard=shard)
            except DAMAGE as error:
                what = f"{prefix}{name}: cannot be decoded ({reason(error)})."
                _add(check, group, table, shard, tuple(range(shard.start, shard.stop)), what)
        if len(values) < len(names):
            readable = False
            continue
        status[here], digest[here] = values["status"], values.get("digest", 0)
        wrong = np.flatnonzero(_differs(check, table, shard, values))
        if wrong.size:
            agree = False
            rows = tuple((wrong + shard.start).tolist())
            _add(check, group, table, shard, rows, f"{prefix}digest: the content is not what was written with it.")
    if readable and "digest" in names:
        check_stamp(check, group.attrs.asdict(), status, digest, agree=agree, prefix=prefix)


def _differs(
    check: ProfileCheck, table: Mapping[str, Variable], shard: Shard, values: Mapping[str, NDArray[np.generic]]
) -> NDArray[np.bool_]:
    """Rows that were run and have not their digest."""
    unknown = ~np.isin(values["status"], list(STATUS.values()))
    if check.arch is None or "digest" not in values:
        return unknown  # without the strings there are no digests, and of them it was told
    found = accepted_digests(
        check.arch[shard.start : shard.stop],
        {name: column for name, column in values.items() if table[name].dims[0] == "arch"},
        version=format_of(check.root),
    )
    differs = np.all([each != values["digest"] for each in found], axis=0)
    return np.asarray(unknown | ((values["status"] != STATUS["not run"]) & differs))


def _add(
    check: ProfileCheck,
    group: zarr.Group,
    table: Mapping[str, Variable],
    shard: Shard,
    rows: tuple[int, ...],
    what: str,
) -> None:
    variables = [variable for name, variable in table.items() if name in group]
    check.add(
        what,
        shard=shard.index,
        rows=rows,
        repair=lambda: _clear(check, group, variables, shard),
        key=f"{group.path} shard {shard.index}",
    )


def _clear(check: ProfileCheck, group: zarr.Group, variables: Sequence[Variable], shard: Shard) -> None:
    with lock_shard(check.location, check.name, shard.index, run=uuid.uuid4().hex) as lock:
        clear_rows(group, variables, shard, lock=lock)
