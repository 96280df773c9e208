"""Table 5: how Sweet Gradient ranks under other splits, numbers of architectures, batch sizes and seeds."""

from collections.abc import Iterator, Mapping

from sweetgrad.analysis.labels import DATASETS, Labelled
from sweetgrad.analysis.markdown import markdown_table
from sweetgrad.analysis.reproduction.published import BATCH_SIZES, SPLITS
from sweetgrad.analysis.reproduction.tables import (
    BATCH_SIZE,
    OUTSIDE,
    SEED,
    Ranking,
    Rankings,
    beside_paper,
    choice_remark,
    correlation_cell,
    default_profile,
)

__all__ = ["table_5"]

_NUM_ARCHS = (100, 150, 200, 300)


def table_5(measured: list[Labelled], rank: Rankings) -> Iterator[str]:
    """Blocks of Markdown: what the choice of the interval does under other splits, architectures, batch sizes and seeds."""
    default = default_profile(measured)
    paper = default.dataset == "cifar10"
    title = default.dataset_title
    table = "Table 5: " if default.dataset in DATASETS else ""

    splits = {split: rank(default, split=split) for split in range(2, 6)}
    yield f"### {table}{title}, intervals in a decade"
    yield _rankings("split", splits, SPLITS if paper else {})

    counts = [count for count in _NUM_ARCHS if count <= default.info.status.num_ok]
    choices = {count: rank(default, num_archs=count) for count in counts}
    if choices:
        yield f"### {table}{title}, number of architectures that choose the interval"
        yield _rankings("architectures", choices, {})

    of_seed = {each.info.spec.batch_size: each for each in measured if each.info.spec.seed == SEED}
    if len(of_seed) > 1:
        sizes = {size: rank(of_seed[size]) for size in sorted(of_seed)}
        yield f"### {table}{title}, batch size"
        yield _rankings("batch", sizes, BATCH_SIZES if paper else {})
    of_batch = {each.info.spec.seed: each for each in measured if each.info.spec.batch_size == BATCH_SIZE}
    if len(of_batch) > 1:
        seeds = {seed: rank(of_batch[seed]) for seed in sorted(of_batch)}
        yield f"### {title}, seed of the batch and of the initialisation"
        yield _rankings("seed", seeds, {})


def _rankings(of: str, rankings: dict[int, Ranking], published: Mapping[int, float]) -> str:
    rows = []
    for key, each in rankings.items():
        rows.append(
            [
                str(key),
                str(each.best.interval),
                f"{each.best.confidence:.0%}",
                *beside_paper(each.correlation, published.get(key)),
                str(each.best.runner_up),
                f"{each.best.runner_up_confidence:.0%}",
                correlation_cell(each.runner_up),
                f"{each.correlation.num_archs:,}",
            ]
        )
    method = next(iter(rankings.values())).correlation.method.capitalize()
    header = [of, "best interval", "best in", method, "paper", "difference", "runner-up", "best in", method, "archs"]
    outside = [
        f"* {of} {key}: {choice_remark(rankings[key], figure)}"
        for key, figure in published.items()
        if key in rankings and not rankings[key].correlation.low <= figure <= rankings[key].correlation.high
    ]
    return "\n\n".join([markdown_table(header, rows), *([f"{OUTSIDE}\n\n" + "\n".join(outside)] if outside else [])])
