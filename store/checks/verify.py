"""Check everything that a store promises, and repair what can be measured again."""

from collections.abc import Callable, Collection, Sequence
from typing import Any

from sweetgrad.store.access import (
    PARTIAL,
    Location,
    Progress,
    command_line,
    files_in,
    is_remote,
    is_zip,
    local_path,
    with_options,
)
from sweetgrad.store.access._zarr import sync
from sweetgrad.store.accuracy_table import recover_accuracy
from sweetgrad.store.checks.metadata import check_consolidated, check_layout, delete_tree, walk, write_metadata
from sweetgrad.store.checks.problem import DAMAGE, Node, Problem, TableCheck
from sweetgrad.store.checks.rows import check_accuracy, check_profile_rows, check_training_rows, training_check
from sweetgrad.store.checks.sums import SUMS, check_extra, check_sums, find_sums, read_sums
from sweetgrad.store.errors import LockedError, NotAStoreError, StoreError
from sweetgrad.store.groups import Store
from sweetgrad.store.locks import delete_lock, list_locks, orphans
from sweetgrad.store.profile import Profile
from sweetgrad.store.redaction import redacted
from sweetgrad.store.root import editing
from sweetgrad.store.training import Trainings

_ROOT_ATTRIBUTES = ("schema_version", "title", "licence", "citation", "creator", "history")


def verify(
    location: Location,
    *,
    repair: bool = False,
    storage_options: dict[str, Any] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[Problem]:
    """Check a whole store, one shard in memory at a time. Not for a store that a run is writing to.

    If it is a release (a folder or address with ``SHA256SUMS``, or a ``.zarr`` or ``.zarr.zip`` beside it), every file is
    compared with its checksum. If the release is local, its store is then checked like any other: the folder, or the zip if
    there is no folder or the zip was requested.

    The checks of a store: the metadata of the store and of every array agrees with the schema, and with the copy in the root;
    every chunk can be decoded; rows with status ok or failed match their digests; in rows with status ok, the counts sum to
    ``num_params`` over the bins and to ``grad_count_network`` over the layers; a profile stamped complete has no missing rows,
    and the digest of its stamp; no files were left by interrupted writes.

    Parameters
    ----------
    location
        As in `open_store`, or the folder or address of a release.
    repair
        Whether to repair what can be repaired: metadata that follows from the schema is rewritten, damaged shards are cleared
        so that the next run measures them again, leftover files are deleted, and repaired profiles are stamped again.
    storage_options
        As in `open_store`.
    progress
        Called with the number of files or shards checked and their total.

    Returns
    -------
    All problems that were found, including repaired ones. Damage never raises.

    Raises
    ------
    NotAStoreError, SchemaVersionError
        If there is no store, or its format cannot be read.
    StoreError
        If ``SHA256SUMS`` is not a list of checksums, or names files outside the release.
    ValueError
        If ``repair`` is True for a ``.zip`` or a release.
    """
    location = with_options(location, storage_options)
    if repair and is_zip(location):
        raise ValueError(
            f"{redacted(location)} is a zip file, which cannot be repaired: unpack it, and repair the folder."
        )
    release = find_sums(location)
    if release is None:
        return _check_store(location, repair=repair, progress=progress)
    if repair:
        raise ValueError(
            f"{redacted(location)} is a release, whose files are never changed: download those that differ, or publish again."
        )
    return _check_release(*release, progress=progress)


def require_sound(location: Location, paths: Collection[str], *, progress: Progress | None = None) -> None:
    """Raise if the store has problems in these profiles and accuracy tables.

    Locks and files left by interrupted writes do not count: nothing reads them, and they are not copied.

    Raises
    ------
    StoreError
        If there is a problem; the message lists them.
    """

    def report(done: int, total: int) -> None:
        if progress:
            progress("verifying", done, total)

    problems = _check_store(location, repair=False, progress=report, paths=paths)
    if problems:
        lines = "\n".join(f"  {problem}" for problem in problems[:20])
        more = f"\n  and {len(problems) - 20} more" if len(problems) > 20 else ""
        raise StoreError(
            f"{location} has {len(problems)} problem{'s' if len(problems) > 1 else ''}, so nothing was written:\n{lines}{more}\n"
            f"`{command_line('verify', location, '--repair')}` deals with what can be repaired."
        )


def _check_release(
    place: Location, part: str, text: str, *, progress: Callable[[int, int], None] | None = None
) -> list[Problem]:
    """Check the files of a release against its checksums and, if it is local, the content of its stores."""
    sums = read_sums(text, where=f"{place}/{SUMS}")
    asked = {name: digest for name, digest in sums.items() if not part or name == part or name.startswith(f"{part}/")}
    problems = check_sums(place, asked, progress=progress)
    if is_remote(place):
        return problems
    problems += check_extra(local_path(place), sums, part=part)
    tops = dict.fromkeys(name.partition("/")[0] for name in asked)
    for name in tops:
        # A zip beside its folder has the same content; one that does not match its sum has to be downloaded again anyway.
        lone_zip = name.endswith(".zarr.zip") and name.removesuffix(".zip") not in tops
        if name.endswith(".zarr") or (lone_zip and not any(each.what.startswith(f"{name} ") for each in problems)):
            problems += _check_store(f"{place}/{name}", repair=False, progress=progress)
    return problems


def _check_store(
    location: Location,
    *,
    repair: bool,
    progress: Callable[[int, int], None] | None = None,
    paths: Collection[str] | None = None,
) -> list[Problem]:
    """Check a store, or only the groups in ``paths``; None: all of them, and the files that writers left behind."""
    store = Store.open(location, mode="r+" if repair else "r")
    root = store.root
    missing = [name for name in _ROOT_ATTRIBUTES if name not in root.attrs]
    problems = [
        Problem("", None, (), f"attribute {name} of the root is missing: set it by hand.", False) for name in missing
    ]
    nodes = [node for node in walk(root) if paths is None or node.path in paths]
    if paths is None:
        problems += _leftover_files(store, nodes, repair=repair)
        problems += _locks(location, nodes, repair=repair)
    for node in nodes:
        try:
            problems += _check_group(store, node, repair=repair)
        except NotAStoreError as error:  # a link leads out of the store
            problems.append(Problem(node.path, None, (), f"not repaired: {error}", False))
    profiles = [TableCheck(store, node) for node in nodes if node.kind == "profile" and not node.error]
    for profile in profiles:
        check_layout(profile, repair=repair)
    problems += check_consolidated(root, profiles, repair=repair)
    total, done = sum(len(profile.shards) for profile in profiles), 0
    for profile in profiles:
        for _ in check_profile_rows(profile):
            done += 1
            if progress:
                progress(done, total)
    trainings = [training_check(store, node) for node in nodes if node.kind == "training"]
    for training in trainings:
        check_training_rows(training)
    checks = [*profiles, *trainings]
    problems += [problem for check in checks for problem in check.problems]
    return problems + _repair([check for check in checks if check.repairs], profiles) if repair else problems


def _repair(checks: Sequence[TableCheck], profiles: Collection[TableCheck]) -> list[Problem]:
    """Run all repairs, then stamp the tables again; this upgrades a store of an older format, for which no damage may be left."""
    problems: list[Problem] = []
    for check in checks:
        for action in check.repairs.values():
            try:
                action()
            except NotAStoreError as error:  # a link leads out of the store
                problems.append(Problem(check.name, None, (), f"not repaired: {error}", False))
            except LockedError as error:
                what = f"not repaired: {error}. Repair again when it has ended."
                problems.append(Problem(check.name, None, (), what, False))
    unrepaired = {problem.profile for problem in problems}
    for check in checks:
        if check.name in unrepaired:
            continue
        try:
            table = Profile if check in profiles else Trainings
            table.open(check.location, check.name).finalise()
        except DAMAGE as error:
            what = f"cannot be stamped while other problems remain ({error})"
            problems.append(Problem(check.name, None, (), what, False))
    return problems


def _leftover_files(store: Store, nodes: list[Node], *, repair: bool) -> list[Problem]:
    """Files that a killed process leaves behind and that nothing reads: temporary files, and those of locks being released."""
    root, location = store.root, store.location
    left: list[str] = []
    if not is_remote(location) and (folder := local_path(location)).is_dir():
        left = [path.relative_to(folder).as_posix() for path in files_in(folder, f"*{PARTIAL}")]
    if root.metadata.consolidated_metadata is None:  # otherwise files can be neither listed nor written
        with_shards = [node.path for node in nodes if node.kind in ("profile", "training")]
        left += [key for path in ("", *with_shards) for key in orphans(location, path)]
    problems = []
    for name in sorted(left):
        what = f"{name} was left by an interrupted write and is never read; --repair deletes it."
        profile = max((node.path for node in nodes if name.startswith(f"{node.path}/")), key=len, default="")
        problems.append(Problem(profile, None, (), what, True))
        if repair:
            sync(root.store.delete(name))
    return problems


def _locks(location: Location, nodes: list[Node], *, repair: bool) -> list[Problem]:
    """Locks that ended processes left behind, and those of runs that may be writing at the moment."""
    problems = []
    for node in nodes:
        held = list_locks(location, node.path) if node.kind in ("profile", "training") else {}
        for key, holder in held.items():
            shard = int(key.rpartition("/")[2].removesuffix(".json"))
            what = f"is locked by {holder}"
            if holder.is_dead:
                what = f"{what}, which has ended; the next run takes the lock over, --repair deletes it."
                if repair:
                    delete_lock(location, key)
            else:
                what = f"{what}: a run may be writing to it. Verify again when it has ended."
            problems.append(Problem(node.path, shard, (), what, holder.is_dead))
    return problems


def _check_group(store: Store, node: Node, *, repair: bool) -> list[Problem]:
    def found(what: str, *, repairable: bool) -> list[Problem]:
        return [Problem(node.path, None, (), what, repairable)]

    if node.kind == "accuracy leftover":
        if repair:
            with editing(store.location) as fenced:
                recover_accuracy(fenced, node.path.rpartition("/")[0])
        return found("was left by an interrupted import of accuracies; --repair removes it.", repairable=True)
    if node.kind == "accuracy":
        return check_accuracy(store, node)
    if node.kind == "unfinished profile":
        if repair:
            _delete_unfinished(store.location, node)
        what = "the creation of this profile was interrupted: the next `sweetgrad profile` creates it again; --repair deletes it."
        return found(what, repairable=True)
    if node.kind == "training":
        return []  # `check_training_rows` reports it
    if node.error and node.kind == "profile":
        what = f"{node.error}, and so is the spec: copy it from a backup, or delete the folder and profile again."
        return found(what, repairable=False)
    if node.error:
        if repair:
            write_metadata(store.root, node.path, {"attributes": {}, "zarr_format": 3, "node_type": "group"})
        return found(f"{node.error}; it is an empty group, which --repair rewrites.", repairable=True)
    return []


def _delete_unfinished(location: Location, node: Node) -> None:
    """Delete a profile whose creation was interrupted, unless it is being created at the moment, or has been completed."""
    with editing(location) as store:
        if node.kind in (
            each.kind for each in walk(store.root, node.path.rpartition("/")[0]) if each.path == node.path
        ):
            delete_tree(store.root, node.path)
