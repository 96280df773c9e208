"""``sweetgrad train``: architectures trained for real, by the same workers and the same handing out as profiles."""

import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console

from sweetgrad.flows.cluster import open_client
from sweetgrad.flows.cluster_config import read_cluster_config
from sweetgrad.flows.inputs import check_label, check_workers, find_table, resolve_device
from sweetgrad.flows.provenance import provenance
from sweetgrad.flows.selection import select_archs
from sweetgrad.flows.shard_flow import shard_flow
from sweetgrad.flows.startup import started
from sweetgrad.flows.work import num_rows
from sweetgrad.flows.worker import run_trainings
from sweetgrad.profiling import load_space, registry
from sweetgrad.profiling.architectures import ArchIds
from sweetgrad.profiling.training import EVAL_SPLITS, Recipe, TrainingConfig, check_config
from sweetgrad.store import STATUS, Location, Shard, Trainings
from sweetgrad.store.access import absolute, command_line
from sweetgrad.store.training import collect_trainings, create_training

__all__ = ["TrainSummary", "train"]


@dataclass(frozen=True)
class TrainSummary:
    """What a run did.

    Attributes
    ----------
    space, label
        Search space, and name of the data set in its accuracy table.
    num_asked, num_done, num_left
        Trainings asked for; those that this run did; those that are left, 0 unless it was interrupted.
    num_failed
        Trainings asked for whose loss was not finite, or that raised.
    failure
        Why the first of these failed; empty if none did.
    num_archs
        Architectures with an accuracy of this label.
    seconds
        Wall time of the run.
    """

    space: str
    label: str
    num_asked: int
    num_done: int
    num_left: int
    num_failed: int
    failure: str
    num_archs: int
    seconds: float


@dataclass(frozen=True)
class _Trainings:
    """The trainings with one seed; see `sweetgrad.flows.work.Work`."""

    table: Trainings
    rows: Sequence[int]
    course: TrainingConfig
    label: str
    retry_failed: bool
    command: str
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    verb: str = "train"
    doing: str = "training"
    stopping: str = "giving up the trainings in hand after their epoch; what is done is written"

    @property
    def device(self) -> str:
        return self.course.device

    @property
    def tags(self) -> tuple[str, ...]:
        return (self.course.space.name, self.course.dataset, f"seed-{self.course.seed}", self.course.device)

    def shards_to_do(self) -> list[Shard]:
        return self.table.plan(self.rows, retry_failed=self.retry_failed)

    def call(self, shard: Shard) -> tuple[Callable[..., int], tuple[Any, ...]]:
        return run_trainings, (self.table, shard, self.course, self.retry_failed)

    def finish(self) -> None:
        collect_trainings(self.table.location, space=self.course.space.name, label=self.label)


def train(
    store: Location,
    *,
    recipe: Recipe,
    space: str = "nas-bench-201",
    dataset: str = "digits",
    data_dir: str | Path | None = None,
    space_file: str | Path | None = None,
    space_options: Mapping[str, Any] | None = None,
    archs: str = "all",
    seeds: Sequence[int] = (0,),
    label: str | None = None,
    device: str = "auto",
    workers: int | None = None,
    scheduler: str | None = None,
    cluster: str | Path | Mapping[str, Any] | None = None,
    retry_failed: bool = False,
    console: Console | None = None,
) -> TrainSummary:
    """Train architectures of a space, and write their accuracies and seconds into the accuracy table of the store.

    Every training is written when it is done. What the store holds is not trained again. An accuracy depends on the architecture,
    the seed, the recipe and the images alone, not on workers, order or interruptions.

    Parameters
    ----------
    store, space, dataset, data_dir, space_file, space_options, device, workers, scheduler, cluster, retry_failed
        As in `profile`.
    recipe
        How to train (`sweetgrad.profiling.training.RECIPES`).
    archs
        As in `profile`: the same architectures are chosen.
    seeds
        Seeds of initialisation and order of images; every architecture is trained once with each.
    label
        Name of the data set in the accuracy table (default: ``dataset``). Under it is the mean over seeds, and under
        ``<label>/seed<seed>`` what each gave.
    console
        Where progress is shown (default: standard error).

    Raises
    ------
    ValueError, FileNotFoundError
        For what the caller can put right; nothing is written then.
    SpecMismatchError
        If the store holds trainings of this label with another recipe or other images.
    """
    start = time.monotonic()
    console = console or Console(stderr=True)
    label = dataset if label is None else label
    check_workers(workers=workers, scheduler=scheduler, cluster=cluster)
    check_label(label)
    _check_seeds(seeds)
    config = None if cluster is None else read_cluster_config(cluster, num_workers=workers)
    device = resolve_device(device, remote=scheduler is not None or cluster is not None)
    table = space_file or find_table(space, data_dir)
    search_space = load_space(space, table=table, options=space_options)
    rows = select_archs(archs, num_archs=len(search_space))
    folder = None if data_dir is None else Path(data_dir).expanduser().resolve()
    registry.load("datasets", dataset)
    courses = [TrainingConfig(search_space, dataset, folder, recipe, seed, device) for seed in dict.fromkeys(seeds)]
    settings = [course.settings() for course in courses]
    check_config(courses[0], search_space.arch_id(rows[0]))
    location = absolute(store)
    runs = []
    for course, each in zip(courses, settings, strict=True):
        trainings = create_training(
            location,
            space=search_space.name,
            label=label,
            seed=course.seed,
            arch=ArchIds(search_space),
            splits=EVAL_SPLITS,
            settings=each,
        )
        command = f"{command_line('train', store)} …"  # a recipe need not be one that the program knows
        runs.append(_Trainings(trainings, rows, course, label, retry_failed, command))
    todo = [(run, shards) for run in runs if (shards := run.shards_to_do())]
    num_done = num_left = 0
    if todo:
        facts = provenance(device=device, data_source=dataset, arch_order=getattr(search_space, "order", "built in"))
        for run, _ in todo:
            run.table.record_run(facts)
        opening = open_client(
            scheduler=scheduler,
            cluster=config,
            store=location,
            device=device,
            num_workers=workers,
            num_shards=max(len(shards) for _, shards in todo),
            console=console,
        )
        with started(opening, console=console) as client:
            for run, shards in todo:
                if num_left:
                    num_left += num_rows(shards)
                    continue
                console.print(
                    f"{run.table.name}: {num_rows(shards)} of {len(rows)} architectures to train.", markup=False
                )
                done, num_left = shard_flow(run, shards, client=client, console=console, watched=False)
                num_done += done
    num_archs = collect_trainings(location, space=search_space.name, label=label)
    asked = [run.table.dataset().isel(arch=list(rows)) for run in runs]
    failures = [text for each in asked for text in each["message"].values[each["status"].values == STATUS["failed"]]]
    return TrainSummary(
        space=search_space.name,
        label=label,
        num_asked=len(rows) * len(runs),
        num_done=num_done,
        num_left=num_left,
        num_failed=len(failures),
        failure=str(failures[0]) if failures else "",
        num_archs=num_archs,
        seconds=time.monotonic() - start,
    )


def _check_seeds(seeds: Sequence[int]) -> None:
    if not seeds or min(seeds) < 0:
        raise ValueError(
            f"expected one or more seeds from 0 on, such as 0,1; got {', '.join(map(str, seeds)) or 'none'}"
        )
