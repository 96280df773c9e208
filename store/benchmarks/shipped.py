"""Tables that come with the package, and writing such a table from a store."""

import difflib
import gzip
import io
import json
from importlib.resources import files
from pathlib import Path
from typing import Any

import pandas as pd
import xarray as xr

from sweetgrad.store.benchmarks.tidy import COLUMNS, escaped

SHIPPED = ("digits-201", "nas-bench-201")
"""``digits-201``: NAS-Bench-201 architectures trained on scikit-learn's digits; see docs/how-to/train.md. ``nas-bench-201``: the
accuracies of the benchmark itself. README.md in the folder of this module says where they are from."""


def shipped_table(name: str | Path) -> Path:
    """The file of a table that comes with the package; any other name is taken as a path.

    Examples
    --------
    >>> shipped_table("digits-201").name, shipped_table("mine.csv").name
    ('digits-201.csv.gz', 'mine.csv')
    """
    stem = Path(name).name.removesuffix(".gz").removesuffix(".csv")
    # A number is no misspelling: nas-bench-101 is another benchmark.
    alike = [known for known in SHIPPED if _digits(known) == _digits(stem)]
    near = difflib.get_close_matches(stem, alike, n=1)
    if near and near[0] != str(name) and not Path(name).exists():
        raise ValueError(f"no file {name}; did you mean {near[0]}, the table that comes with the package?")
    if str(name) not in SHIPPED or Path(name).exists():
        return Path(name)
    return Path(str(files("sweetgrad.store.benchmarks").joinpath(f"{name}.csv.gz")))


def _digits(text: str) -> str:
    return "".join(filter(str.isdecimal, text))


def settings_of(path: Path) -> dict[str, Any] | None:
    """Training settings of a table, from the JSON file that `write_table` writes beside it; None if there is none."""
    beside = _beside(path)
    if not beside.is_file():
        return None
    found = json.loads(beside.read_text(encoding="utf-8"))
    if not isinstance(found, dict):
        raise ValueError(f"{beside}: expected a JSON object with the training settings, got {type(found).__name__}")
    return found


def write_table(accuracies: xr.Dataset, path: Path, *, label: str | None = None) -> int:
    """Write accuracies as a tidy table that `read_accuracy_file` reads; the same accuracies give the same bytes.

    Parameters
    ----------
    accuracies
        As returned by `sweetgrad.store.open_accuracies`.
    path
        ``.csv`` or ``.csv.gz``. The training settings, if the store has them, are written to a ``.json`` file of the same name.
        Strings that a spreadsheet would run as formulas get an apostrophe, which `read_accuracy_file` removes again.
    label
        Data set to write, with its individual seeds (``<label>/seed…``); None: all.

    Returns
    -------
    Number of rows.

    Raises
    ------
    ValueError
        If the path has another suffix, or there are no accuracies with that label.
    """
    if not path.name.endswith((".csv", ".csv.gz")):
        raise ValueError(f"expected a path with the suffix .csv or .csv.gz, got {path}")
    names = accuracies["dataset"].values.tolist()
    chosen = [name for name in names if label is None or name == label or name.startswith(f"{label}/")]
    table = (
        accuracies.sel(dataset=chosen).to_dataframe().reset_index() if chosen else pd.DataFrame(columns=["accuracy"])
    )
    table = table[table["accuracy"].notna()]
    if table.empty:
        raise ValueError(f"no accuracies of {label!r}; available: {', '.join(names)}")
    table = table.rename(columns={"train_seconds": "seconds"})[COLUMNS].sort_values(COLUMNS[:4], kind="stable")
    table["seconds"] = table["seconds"].round(2)
    text = escaped(table, ["arch", "dataset", "split"]).to_csv(index=False, float_format="%.10g").encode()
    path.write_bytes(_gzipped(text) if path.suffix == ".gz" else text)
    sources = {each["source"]: each.get("settings") for each in accuracies.attrs.get("sources", ())}
    settings = sources.get(f"sweetgrad train, label {label}")
    if settings is not None:
        _beside(path).write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
    return len(table)


def _beside(path: Path) -> Path:
    return path.with_name(path.name.removesuffix(".gz").removesuffix(".csv") + ".json")


def _gzipped(text: bytes) -> bytes:
    buffer = io.BytesIO()
    with gzip.GzipFile(fileobj=buffer, mode="wb", mtime=0, filename="") as file:
        file.write(text)
    return buffer.getvalue()
