"""Whether it helps to average sweetness over seeds or batch sizes before the interval is chosen."""

from collections.abc import Iterator, Sequence

import xarray as xr

from sweetgrad.analysis.findings.choosing import PAPER, Chooser, judge
from sweetgrad.analysis.findings.prose import AVERAGING
from sweetgrad.analysis.findings.reading import Found, on_shared, varying
from sweetgrad.analysis.findings.tables import gain_cell, interval_of, mean_cell, verdict
from sweetgrad.analysis.markdown import markdown_table

__all__ = ["averaged", "averaging_section"]

_OWN = "the profile itself"
_SMALL = 0.005
"""A smaller change of a rank correlation is less than that from one batch to the next."""
_TITLES = {"seed": "seeds of batch and initialisation", "batch_size": "batch sizes"}


def averaging_section(found: Sequence[Found], *, suggested: str, replicates: int) -> Iterator[str]:
    """Blocks of Markdown: for the paper's grid, and for the one that was suggested, what averaging before the choice gains."""
    yield AVERAGING.format(num_archs=Chooser.num_archs)
    for of in ("seed", "batch_size"):
        group = [each for each in varying(found, of) if each.selector is not None]
        if len(group) < 3:
            continue
        shared = on_shared(group)
        if shared[0].sizes["arch"] < 2 * Chooser.num_archs:
            continue
        by_grid = {grid: averaged(shared, grid, replicates=replicates) for grid in dict.fromkeys((PAPER, suggested))}
        paper = by_grid[PAPER].sel(chooser=_OWN)
        rows = [
            [
                str(chooser),
                *(
                    cell
                    for grid, found_in in by_grid.items()
                    for values in [found_in.sel(chooser=chooser)]
                    for cell in (
                        mean_cell(values),
                        gain_cell(values - paper) if str(chooser) != _OWN or grid != PAPER else "",
                    )
                ),
            ]
            for chooser in by_grid[PAPER]["chooser"].values
        ]
        header = ["sweetness of", *(cell for grid in by_grid for cell in (grid, "gain"))]
        values = ", ".join(str(getattr(each.info.spec, of)) for each in group)
        yield f"### Over {_TITLES[of]}\n\n{group[0].title}: {values}; {shared[0].sizes['arch']:,} architectures."
        yield markdown_table(header, rows)
        yield _verdict(by_grid, of)


def averaged(group: Sequence[xr.Dataset], grid: str, *, replicates: int) -> xr.DataArray:
    """Mean correlation over the profiles of a group, each judged in turn; dims ``(chooser, replicate)``."""
    judged = []
    for place, target in enumerate(group):
        others = [each["sweetness"] for each in (*group[place + 1 :], *group[:place])]
        mean = sum(others[1:], others[0]) / len(others)
        half = target.sizes["arch"] // 2
        several = f"the mean of {len(others)} others"
        choosers = {
            _OWN: Chooser(grid),
            "one other": Chooser(grid, others[0]),
            f"{several}, {Chooser.num_archs // len(others)} architectures of each": Chooser(
                grid, mean, Chooser.num_archs // len(others)
            ),
            f"{several}, {Chooser.num_archs} architectures of each": Chooser(grid, mean),
            f"{_OWN}, {half} architectures": Chooser(grid, num_archs=half),
        }
        judged.append(judge(target, choosers, replicates=replicates)["correlation"])
    return xr.concat(judged, "profile").mean("profile")


def _verdict(by_grid: dict[str, xr.DataArray], of: str) -> str:
    """A sentence for each grid: averaging against the profile itself, with the same grid."""
    said = []
    for grid, found in by_grid.items():
        full = next(
            str(name)
            for name in found["chooser"].values
            if str(name).endswith(f", {Chooser.num_archs} architectures of each")
        )
        gain = found.sel(chooser=full) - found.sel(chooser=_OWN)
        words = {
            "better": "chooses better",
            "worse": "chooses worse",
            "open": "makes no difference that these data show",
        }
        little = "; too little to matter" if abs(interval_of(gain)[0]) < _SMALL else ""
        said.append(
            f"* {grid}: averaging over {_TITLES[of]} {words[verdict(gain)]}, {gain_cell(gain)} over one profile{little}."
        )
    return "\n".join(said)
