"""The page of the explorer: what `collect` gives, compressed, with the script and the style that show it."""

import base64
import datetime as dt
import gzip
import json
from collections.abc import Sequence
from fractions import Fraction
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sweetgrad.analysis.counts import cut_at
from sweetgrad.analysis.explorer.data import ProfilePage, Progress, collect
from sweetgrad.analysis.intervals import IntervalGrid, format_threshold
from sweetgrad.store import EDGES, Location, StoreInfo
from sweetgrad.store.pages import html_path
from sweetgrad.store.pages import render as render_template

SCRIPTS = ("statistics", "drawing", "opening", "answers", "heatmap", "showing", "explorer")
"""Scripts of the page, each of which may use those before it; they share one scope."""

SPLITS = range(1, 11)
"""Splits whose grids the page offers; all of them are exact."""


def explore(
    location: Location,
    out: str | Path = "explorer.html",
    *,
    profiles: Sequence[str] | None = None,
    accuracy: str | None = None,
    progress: Progress | None = None,
) -> Path:
    """Write one HTML page with which to look around in a store; it needs a browser, and no network.

    Parameters
    ----------
    location, profiles, accuracy, progress
        As in `collect`.
    out
        The file.

    Returns
    -------
    Its path.

    Raises
    ------
    NotAStoreError
        As in `collect`.
    ValueError
        As in `collect`, or if ``out`` has the suffix of another format.
    """
    path = html_path(out, what="an explorer")
    store, pages = collect(location, profiles=profiles, accuracy=accuracy, progress=progress)
    path.write_text(render(store, pages), encoding="utf-8")
    return path


def render(store: StoreInfo, pages: Sequence[ProfilePage]) -> str:
    """The page as text; what a store says stands in it as JSON or escaped, and its policy forbids to load anything."""
    folder = Path(__file__).parent
    shared = (folder.parent / "report" / "page.css").read_text(encoding="utf-8")
    content = {
        "profiles": [
            {**page.facts, "arrays": {name: _layout(array) for name, array in page.arrays.items()}} for page in pages
        ],
        "edges": [str(edge) for edge in EDGES],
        "stops": [_stop(threshold) for threshold in (Fraction(0), *EDGES)],
        "grids": {split: _grid_bins(split) for split in SPLITS},
    }
    data = {
        f"data-{number}-{name}": text
        for number, page in enumerate(pages)
        for name, text in (
            ("archs", _packed(json.dumps(page.archs).encode())),
            *((name, _packed(byte_planes(array))) for name, array in page.arrays.items()),
        )
    }
    return render_template(
        folder / "page.html.j2",
        title=store.attributes.get("title") or "Gradients at initialisation",
        location=str(store.location),
        style=shared + (folder / "explorer.css").read_text(encoding="utf-8"),
        content=_json(content),
        data=data,
        scripts={name: (folder / f"{name}.js").read_text(encoding="utf-8") for name in SCRIPTS},
        made=dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        sweetgrad=version("sweetgrad"),
    )


def byte_planes(array: NDArray[Any]) -> bytes:
    r"""The first bytes of all numbers, then the second ones, and so on, little-endian: small numbers compress better so.

    Last bytes that are zero in all numbers are left out.

    Examples
    --------
    >>> byte_planes(np.array([1, 258], dtype=np.uint32))
    b'\x01\x02\x00\x01'
    """
    flat = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<")).reshape(-1)
    planes = flat.view(np.uint8).reshape(-1, array.dtype.itemsize).T
    used = np.flatnonzero(planes.any(axis=1))
    return planes[: used[-1] + 1 if used.size else 1].tobytes()


def _packed(content: bytes) -> str:
    # Without the time, so that the same store gives the same bytes.
    return base64.b64encode(gzip.compress(content, compresslevel=6, mtime=0)).decode("ascii")


def _layout(array: NDArray[Any]) -> dict[str, Any]:
    return {"type": array.dtype.name, "shape": list(array.shape)}


def _stop(threshold: Fraction) -> dict[str, str]:
    """A threshold as it is shown, and as it is written so that it is exact."""
    label = format_threshold(threshold)
    return {"label": label, "text": label if Fraction(label) == threshold else str(threshold)}


def _grid_bins(split: int) -> list[int]:
    """First bin above each threshold of the paper's grid."""
    return [cut_at(threshold, exact=True).bin for threshold in IntervalGrid(split=split).thresholds]


def _json(content: Any) -> str:
    """JSON that cannot end the element in which it stands."""
    return json.dumps(content, allow_nan=False).replace("<", "\\u003c")
