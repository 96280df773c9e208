"""Pictures of a report: drawn as SVG, and made a part of the page, in its colours."""

import re
from dataclasses import dataclass
from io import StringIO

from sweetgrad.analysis.figures import FIGURES, Source, figure
from sweetgrad.analysis.figures.style import DENSITY, INK, OTHER, RUNNER_UP, save
from sweetgrad.store import StoreError

__all__ = ["Picture", "picture"]

# As matplotlib writes them: in small letters.
_THEMED = {
    INK.lower(): "var(--ink)",
    RUNNER_UP.lower(): "var(--blue)",
    OTHER.lower(): "var(--bar)",
    "#000000": "var(--ink)",
    "#ffffff": "var(--paper)",
    **{colour: f"var(--density-{level})" for level, colour in enumerate(DENSITY)},
}
"""Colours of pictures that the page has two of, for light and for dark."""


@dataclass(frozen=True)
class Picture:
    """A picture of a report: its title, and the drawing as SVG, or why there is none."""

    name: str
    title: str
    paper: str
    svg: str = ""
    missing: str = ""


def picture(name: str, source: Source) -> Picture:
    """One of `FIGURES`, drawn from a store; where the store lacks what it shows, the reason stands in its place."""
    kind = FIGURES[name]
    try:
        drawn = figure(name, source)
    except (ValueError, StoreError) as error:
        return Picture(name, kind.title, kind.paper, missing=str(error))
    file = StringIO()
    save(drawn, file, format="svg")
    return Picture(name, kind.title, kind.paper, svg=_inner_svg(file.getvalue(), prefix=f"{source.name}-{name}"))


def _inner_svg(text: str, *, prefix: str) -> str:
    """An SVG to stand in a page: no prologue, no metadata, ids of its own, and the page's colours for ink and paper."""
    text = text[text.index("<svg") :]
    text = re.sub(r"<!--.*?-->|<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    prefix = re.sub(r"\W+", "-", prefix)
    text = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{prefix}-", text)
    for colour, variable in _THEMED.items():
        text = text.replace(colour, variable)
    # The page scales it: the size in points would be a fixed one.
    text = re.sub(r'(<svg .*?)height="[^"]*"', r"\1", text, count=1)
    return re.sub(r'(<svg .*?)width="[^"]*"', r"\1", text, count=1)
