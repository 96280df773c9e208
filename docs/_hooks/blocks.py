"""Fill the page on blocks from their declarations, and from the registry of estimators that are derived from them."""

import math
from collections.abc import Mapping

from sweetgrad.analysis.estimators import DerivedEstimator, Figure, derived_estimators
from sweetgrad.store import STATISTICS


def on_page_markdown(markdown: str, *, page: object, **_: object) -> str:
    """Fill the placeholders of the page; called by mkdocs."""
    if getattr(page, "file").src_uri != "blocks.md":  # noqa: B009  (mkdocs' class has no types)
        return markdown
    for name, table in (("blocks", _blocks()), ("derived_estimators", _estimators())):
        assert f"{{{{ {name} }}}}" in markdown, name
        markdown = markdown.replace(f"{{{{ {name} }}}}", table)
    return markdown


def _blocks() -> str:
    rows = [(f"`{block.name}`", block.doc, block.cost) for block in STATISTICS.values()]
    return _table(("block", "holds", "cost"), rows)


def _estimators() -> str:
    rows = [_estimator(each) for each in derived_estimators().values()]
    return _table(("estimator", "formula", "needs", "published by", "published rank correlation"), rows)


def _estimator(each: DerivedEstimator) -> tuple[str, ...]:
    better = " (smaller is better)" if each.sign < 0 else ""
    needs = ", ".join(f"`{block}`" for block in each.needs)
    return f"`{each.name}`", f"{each.formula}{better}", needs, each.source, _figures(each.published)


def _figures(published: Mapping[tuple[str, str], Figure]) -> str:
    """Figures on the data sets of NAS-Bench-201, with the architectures over which they were taken."""
    figures = list(published.values())
    if not figures:
        return ""
    parts = [
        f"{symbol} {' / '.join(_short(value) for value in values)}"
        for symbol, values in (("rho", [f.spearman for f in figures]), ("tau", [f.kendall for f in figures]))
        if not all(map(math.isnan, values))
    ]
    return f"{', '.join(parts)} ({figures[0].population}; {figures[0].source})"


def _short(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3f}".replace("0.", ".")


def _table(header: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [header, ("---",) * len(header), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
