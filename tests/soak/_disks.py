"""Faults of disks: full, bits flipped, files cut short or gone."""

import json
import shutil
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Any

from _runs import BrokenPromiseError, Round, complete, require_error
from _tables import add_tables, same_trainings

from sweetgrad.store import VARIABLES, Problem, StoreError, verify
from sweetgrad.store.checks.metadata import parse_metadata

_PASSES = 3
"""Repairs after which a store must be whole: broken metadata hide what lies behind them."""

_MEANING = ("spec", "shard_size", "complete", "num_ok", "num_failed", "content_digest", "schema_version")
"""Attributes that say something to a program. All others are words for people, about which no check can know better."""


def full_disk(round_: Round) -> None:
    """The store lies on a small disk, which fills up. The error says so, nothing is lost, and more room lets it go on."""
    disk = round_.folder / "disk"
    size = _used(round_.setting.undisturbed)
    num_bytes = int(size * round_.chance.uniform(0.5, 0.95))
    mount_tmpfs(disk, num_bytes)
    round_.notes["disk"] = f"{num_bytes / size:.0%}"
    round_.store = disk / "store.zarr"
    program = round_.start()
    code = round_.wait(program)
    round_.notes |= {"ended_with": code, "killed": int(code != 0)}
    if code:
        require_error(program, code, "No space left on device", "What was written before is safe")
    round_.wait_until_gone()
    subprocess.run(["mount", "-o", f"remount,size={8 * size}", str(disk)], check=True)


def flip_bits(round_: Round) -> None:
    """Flip bits in files of finished shards, or in metadata."""
    shutil.copytree(round_.setting.undisturbed, round_.store)
    if round_.chance.random() < 0.5:
        paths = _chunk_files(round_, round_.chance.randint(1, 3))
    else:
        paths = [round_.chance.choice(sorted(round_.store.rglob("zarr.json")))]
    for path in paths:
        data = bytearray(path.read_bytes())
        for bit in round_.chance.sample(range(8 * len(data)), min(8 * len(data), round_.chance.randint(1, 3))):
            data[bit // 8] ^= 1 << bit % 8
        path.write_bytes(data)
    _repair(round_, paths)


def truncate(round_: Round) -> None:
    """Cut files of any kind of column short, some to nothing."""
    shutil.copytree(round_.setting.undisturbed, round_.store)
    paths = _chunk_files(round_, round_.chance.randint(2, 6))
    for path in paths:
        data = path.read_bytes()
        path.write_bytes(data[: round_.chance.choice([0, round_.chance.randrange(len(data))])])
    _repair(round_, paths)


def delete(round_: Round) -> None:
    """Delete files of any kind of column."""
    shutil.copytree(round_.setting.undisturbed, round_.store)
    paths = _chunk_files(round_, round_.chance.randint(2, 6))
    for path in paths:
        path.unlink()
    _repair(round_, paths)


def mount_tmpfs(folder: Path, num_bytes: int) -> None:
    """Mount a disk of a size. Raises `PermissionError` where that is not permitted."""
    folder.mkdir(parents=True, exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={num_bytes}", "sweetgrad-soak", str(folder)]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    if found.returncode:
        raise PermissionError(f"mounting a tmpfs is not permitted here ({found.stderr.strip()})")


def unmount(folder: Path) -> None:
    """Unmount what `mount_tmpfs` mounted, if it did."""
    if folder.is_mount():
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
        folder.rmdir()


def can_mount(folder: Path) -> bool:
    """Whether `mount_tmpfs` works here."""
    try:
        mount_tmpfs(folder, 1 << 20)
    except (PermissionError, FileNotFoundError):
        return False
    unmount(folder)
    return True


def _repair(round_: Round, damaged: list[Path]) -> None:
    """Require that every damaged file is named, repair (or restore from a backup, where verify says so), then resume."""
    round_.notes |= {"files": [str(path.relative_to(round_.store)) for path in damaged], "killed": 1}
    unnamed = [path for path in damaged if not _is_unchanged(round_, path)]
    restored = 0
    for _ in range(_PASSES):
        problems = _verify(round_)
        unnamed = [path for path in unnamed if not any(_names(round_, problem, path) for problem in problems)]
        if not problems:
            break
        hopeless = [problem for problem in problems if not problem.repairable]
        for problem in hopeless:
            restored += _restore(round_, problem, damaged)
        with suppress(StoreError):  # not a store: the root is restored, if that is what it says
            verify(round_.store, repair=True)
    round_.notes["restored"] = restored
    if unnamed:
        names = [str(path.relative_to(round_.store)) for path in unnamed]
        raise BrokenPromiseError(f"damage that verify did not name: {', '.join(names)}")
    if left := [str(problem) for problem in _verify(round_) if "rows are missing" not in problem.what]:
        raise BrokenPromiseError(f"still wrong after {_PASSES} repairs: {'; '.join(left)[:1500]}")
    complete(round_, round_.start())
    add_tables(round_.store)
    if not same_trainings(round_.store, round_.setting.undisturbed):
        raise BrokenPromiseError("trainings or accuracies are not those of the undisturbed store")


def _verify(round_: Round) -> list[Problem]:
    try:
        return verify(round_.store)
    except StoreError as error:
        return [Problem("", None, (), str(error), False)]


def _names(round_: Round, problem: Problem, path: Path) -> bool:
    """Whether a problem is about a file: its profile, its variable and, of a chunk, its shard or its rows."""
    parts = path.relative_to(round_.store).parts
    if path.name == "zarr.json":
        node = "/".join(parts[:-1])
        is_inside = node.startswith(f"{problem.profile}/")
        return problem.profile == node or (is_inside and parts[-2] in problem.what)
    place = parts.index("c")
    if not "/".join(parts).startswith(f"{problem.profile}/") or parts[place - 1] not in problem.what:
        return False
    return problem.shard in (None, int(parts[place + 1])) or parts[place - 1] in ("arch", "arch_index")


def _restore(round_: Round, problem: Problem, damaged: list[Path]) -> int:
    if not any(word in problem.what for word in ("backup", "by hand", "import its sources again")):
        raise BrokenPromiseError(f"cannot be repaired, and no advice how to go on: {problem}")
    for path in damaged:
        shutil.copy2(round_.setting.undisturbed / path.relative_to(round_.store), path)
    return len(damaged)


def _is_unchanged(round_: Round, path: Path) -> bool:
    """Whether metadata say the same to every program as before, though their bytes differ."""
    if path.name != "zarr.json":
        return False
    before = json.loads((round_.setting.undisturbed / path.relative_to(round_.store)).read_bytes())
    try:
        return bool(_meaning(json.loads(path.read_bytes())) == _meaning(before))
    except Exception:  # zarr, or a codec, cannot read it
        return False


def _meaning(metadata: dict[str, Any]) -> dict[str, Any]:
    """A node as zarr understands it, without words that are for people."""
    read = parse_metadata({key: value for key, value in metadata.items() if key != "consolidated_metadata"}).to_dict()
    attributes = metadata.get("attributes", {})
    known = {key: value if key in _MEANING else type(value).__name__ for key, value in attributes.items()}
    copies = (metadata.get("consolidated_metadata") or {}).get("metadata", {})
    return {**read, "attributes": known, "copies": {key: _copied(value) for key, value in copies.items()}}


def _copied(metadata: dict[str, Any]) -> dict[str, Any]:
    """Of the copies in the root only what is copied on time counts: the arrays, and spec and stamp of a profile."""
    return {**_meaning(metadata), "attributes": {key: metadata["attributes"].get(key) for key in _MEANING}}


def _chunk_files(round_: Round, count: int) -> list[Path]:
    """Files that hold values: first a kind of column by chance, then one of its files, so that every kind is hit."""
    kinds: dict[str, list[Path]] = {}
    for path in sorted(path for path in round_.store.rglob("c/**/*") if path.is_file()):
        parts = path.relative_to(round_.store).parts
        kinds.setdefault(_kind(parts[: parts.index("c")]), []).append(path)
    chosen = [round_.chance.choice(kinds[round_.chance.choice(sorted(kinds))]) for _ in range(count)]
    return sorted(set(chosen))


def _kind(array: tuple[str, ...]) -> str:
    """The kind of column that an array is."""
    name = array[-1]
    if name in VARIABLES and len(array) == 4:
        return name if name.startswith("grad_count") else f"{VARIABLES[name].role} variable of a profile"
    return f"{array[1]} {name}" if "estimators" not in array else f"estimator {array[4]}"


def _used(store: Path) -> int:
    """Bytes that a store takes on a disk of pages of 4 KiB."""
    return sum(-(-path.stat().st_size // 4096) * 4096 for path in store.rglob("*") if path.is_file())
