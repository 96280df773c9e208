"""Equations as inline SVG: nothing is fetched when a page is viewed, and the colour follows the theme."""

import html
import re

from matplotlib.font_manager import FontProperties
from matplotlib.path import Path
from matplotlib.textpath import TextPath

_COMMANDS = {Path.MOVETO: "M", Path.LINETO: "L", Path.CURVE3: "Q", Path.CURVE4: "C", Path.CLOSEPOLY: "Z"}
_SIZE_PX = 19
_MARGIN_PX = 2


def on_page_markdown(markdown: str, **_: object) -> str:
    """Replace every ``$$ … $$`` block of a page; called by mkdocs."""
    return re.sub(r"^\$\$\n(.+?)\n\$\$$", lambda found: equation(found[1]), markdown, flags=re.MULTILINE | re.DOTALL)


def equation(tex: str) -> str:
    """One line of HTML for an equation in the part of TeX that matplotlib knows."""
    tex = re.sub(r"\\le\b", r"\\leq", " ".join(tex.split()))  # matplotlib lacks this short form
    tex = tex.replace(r"\frac", r"\dfrac")
    outline = TextPath((0, 0), f"${tex}$", size=_SIZE_PX, prop=FontProperties(math_fontfamily="cm"))
    box = outline.get_extents()
    left, top = box.x0 - _MARGIN_PX, -box.y1 - _MARGIN_PX
    width, height = box.width + 2 * _MARGIN_PX, box.height + 2 * _MARGIN_PX
    return (
        f'<div class="equation"><svg role="img" aria-label="{html.escape(tex)}" width="{width:.0f}" height="{height:.0f}" '
        f'viewBox="{left:.2f} {top:.2f} {width:.2f} {height:.2f}" fill="currentColor"><path d="{_path(outline)}"/></svg></div>'
    )


def _path(outline: TextPath) -> str:
    steps = []
    for points, code in outline.iter_segments(curves=True, simplify=False):
        command = _COMMANDS[code]
        # SVG's y axis points down.
        places = "" if command == "Z" else " ".join(f"{x:.2f},{-y:.2f}" for x, y in points.reshape(-1, 2))
        steps.append(command + places)
    return "".join(steps)
