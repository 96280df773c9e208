"""``sweetgrad train``: train architectures to convergence, by the same workers and the same dispatch of shards as profiles."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rich.console import Console

if TYPE_CHECKING:
    from sweetgrad.profiling.training import Recipe
    from sweetgrad.store import Location


@dataclass(frozen=True)
class TrainSummary:
    """What a run did.

    Attributes
    ----------
    space, label
        Search space, and name of the data set in its accuracy table.
    num_asked, num_done, num_left
        Trainings requested; those that this run did; those that are left, 0 unless it was interrupted.
    num_failed
        Requested trainings whose loss was not finite, or that raised.
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


def train(
    store: "Location",
    *,
    space: str = "nas-bench-201",
    dataset: str = "digits",
    data_dir: str | Path | None = None,
    space_file: str | Path | None = None,
    space_options: Mapping[str, Any] | None = None,
    archs: str = "all",
    seeds: Sequence[int] = (0,),
    label: str | None = None,
    recipe: "str | Recipe" = "digits-201",
    epochs: int | None = None,
    batch_size: int | None = None,
    learning_rate: float | None = None,
    weight_decay: float | None = None,
    device: Literal["auto", "cpu", "cuda"] = "auto",
    workers: int | None = None,
    scheduler: str | None = None,
    cluster: str | Path | Mapping[str, Any] | None = None,
    retry_failed: bool = False,
    console: Console | None = None,
) -> TrainSummary:
    """Train architectures of a space, and write their accuracies and seconds into the accuracy table of the store.

    Each training is written when it is done; those that the store already holds are not repeated. An accuracy depends on the
    architecture, the seed, the recipe and the images alone, not on workers, order or interruptions. The mean over seeds is stored
    under the label, the result of each seed under ``<label>/seed<seed>``.

    Parameters
    ----------
    store, space, dataset, data_dir, space_file, space_options, archs
        As in `profile`.
    seeds
        Seeds of the initialisation and of the order of the images, e.g. 0,1; every architecture is trained once with each.
    label
        Name of the data set in the accuracy table (default: that of the data set).
    recipe
        Recipe of the training: digits-201, darts-cifar or darts-imagenet.
    epochs
        Number of epochs (default: as in the recipe).
    batch_size
        Images per step (default: as in the recipe).
    learning_rate
        Learning rate of the first step (default: as in the recipe).
    weight_decay
        Weight decay (default: as in the recipe).
    device, workers, scheduler, cluster
        As in `profile`.
    retry_failed
        Run trainings that failed before again.
    console
        Where progress is shown (default: standard error).

    Raises
    ------
    ValueError, FileNotFoundError
        For what the caller can fix; nothing has been written then.
    SpecMismatchError
        If the store holds trainings of this label with another recipe or other images.
    """
    # Imported here, so that reading the options of a command does not load torch, Prefect and Dask.
    from sweetgrad.flows.cluster import choose_workers
    from sweetgrad.flows.inputs import check_label, find_table, resolve_device
    from sweetgrad.flows.provenance import provenance
    from sweetgrad.flows.runs.shard_flow import open_session, shard_flow
    from sweetgrad.flows.runs.work import TrainingWork, num_rows
    from sweetgrad.flows.selection import select_archs
    from sweetgrad.profiling import load_space, registry
    from sweetgrad.profiling.architectures import ArchIds
    from sweetgrad.profiling.training import EVAL_SPLITS, TrainingConfig, check_config, find_recipe
    from sweetgrad.store import STATUS
    from sweetgrad.store.access import absolute, command_line
    from sweetgrad.store.training import collect_trainings, create_training

    start = time.monotonic()
    console = console or Console(stderr=True)
    label = dataset if label is None else label
    source = choose_workers(workers=workers, scheduler=scheduler, cluster=cluster)
    check_label(label)
    _check_seeds(seeds)
    changes = {
        "epochs": epochs,
        "batch_size": batch_size,
        "learning_rate": learning_rate,
        "weight_decay": weight_decay,
    }
    changed_recipe = (find_recipe(recipe) if isinstance(recipe, str) else recipe).changed(**changes)
    resolved_device = resolve_device(device, remote=source.is_remote)
    search_space = load_space(space, table=space_file or find_table(space, data_dir), options=space_options)
    rows = select_archs(archs, ArchIds(search_space), space=space)
    folder = None if data_dir is None else Path(data_dir).expanduser().resolve()
    registry.load("datasets", dataset)
    configs = [
        TrainingConfig(search_space, dataset, folder, changed_recipe, seed, resolved_device)
        for seed in dict.fromkeys(seeds)
    ]
    settings = [config.settings() for config in configs]
    check_config(configs[0], search_space.arch_id(rows[0]))
    location = absolute(store)
    works = []
    for config, config_settings in zip(configs, settings, strict=True):
        trainings = create_training(
            location,
            space=search_space.name,
            label=label,
            seed=config.seed,
            arch=ArchIds(search_space),
            splits=EVAL_SPLITS,
            settings=config_settings,
        )
        command = f"{command_line('train', store)} …"  # a recipe need not be one that the program knows
        works.append(TrainingWork(trainings, rows, config, label, retry_failed, command))
    to_do = [(work, shards) for work in works if (shards := work.shards_to_do())]
    num_done = num_left = 0
    if to_do:
        facts = provenance(
            device=resolved_device, data_source=dataset, arch_order=getattr(search_space, "order", "built in")
        )
        for work, _ in to_do:
            work.table.record_run(facts)
        num_shards = max(len(shards) for _, shards in to_do)
        with open_session(
            source, store=location, device=resolved_device, num_shards=num_shards, console=console
        ) as client:
            for work, shards in to_do:
                if num_left:
                    num_left += num_rows(shards)
                    continue
                console.print(
                    f"{work.table.name}: {num_rows(shards)} of {len(rows)} architectures to train.", markup=False
                )
                done, num_left = shard_flow(work, shards, client=client, console=console, watched=False)
                num_done += done
    num_archs = collect_trainings(location, space=search_space.name, label=label)
    results = [work.table.dataset().isel(arch=list(rows)) for work in works]
    failures = [
        message
        for result in results
        for message in result["message"].values[result["status"].values == STATUS["failed"]]
    ]
    return TrainSummary(
        space=search_space.name,
        label=label,
        num_asked=len(rows) * len(works),
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
