"""The data card of a release: its README."""

from collections.abc import Iterable, Mapping
from typing import Any

from sweetgrad.store.bins import EDGES, NUM_BINS
from sweetgrad.store.estimators import DETAILS, ESTIMATOR_VARIABLES
from sweetgrad.store.overview import ProfileInfo
from sweetgrad.store.release._release import PAPER, Release
from sweetgrad.store.schema import KINDS, LAYER_TYPES, STATUS, VARIABLES, Variable

_LICENCES = {"CC-BY-4.0": "https://creativecommons.org/licenses/by/4.0/"}
_BIN_RECIPE = """The weights of every layer with a gradient in [1e-4, 5e-4) are those of the bins in it. Gradients were
compared in float32, and so are the bounds of the bins:

```python
import numpy as np

low, high = 1e-4, 5e-4
lower, upper = profile.bin_lower.astype("float32"), profile.bin_upper.astype("float32")
inside = (lower >= np.float32(low)) & (upper <= np.float32(high))
counts = profile.grad_count.sel(kind="weight").isel(bin=inside.values).sum("bin")
```

Rows that are not *ok* have counts of 0. Plain zarr takes a file that is lost for zeros: `sweetgrad verify` finds it."""
_NOT_PROVENANCE = {"started"}


def data_card(release: Release) -> str:
    """Markdown text: what it is, what is in it, how it was made, how to load, check and cite it, and what it cannot tell."""
    sections = {
        "What is in it": _contents(release),
        "Load it": _loading(release),
        "How it was made": "\n\n".join(_provenance(profile) for profile in release.profiles),
        "Layout": _layout(release),
        "Known limits": _limits(release),
        "Check it": _checking(release),
        "Licence": _licence(release),
        "Cite it": _citation(release),
    }
    parts = [f"# {release.title}", release.summary, *(f"## {name}\n\n{text}" for name, text in sections.items())]
    return "\n\n".join(parts) + "\n"


def licence_url(licence: str) -> str:
    """Address of a licence, or its name where the address is not known."""
    return _LICENCES.get(licence, licence)


def _contents(release: Release) -> str:
    rows = [
        (
            f"`{profile.status.name}`",
            f"{profile.status.num_archs:,}",
            f"{profile.status.num_ok:,}",
            f"{profile.status.num_failed:,}",
            f"{profile.status.num_not_run:,}",
            _megabytes(profile.num_bytes or 0),
            f"`{profile.content_digest}`",
        )
        for profile in release.profiles
    ]
    header = ("profile", "architectures", "ok", "failed", "not run", "size", "content digest (SHA-256)")
    texts = [_table(header, rows)]
    unfinished = [profile.status.name for profile in release.profiles if not profile.status.complete]
    if unfinished:
        texts.append(
            f"**Not complete**: {', '.join(f'`{name}`' for name in unfinished)}. Rows that were not run have status 0 and hold "
            "no measurement."
        )
    for profile in release.profiles:
        texts += [
            f"`{profile.status.name}` also has the estimator *{each.name}* ({each.num_ok:,} ok)."
            for each in profile.estimators
        ]
    for table in release.accuracies:
        sources = ", ".join(
            f"{source.get('source')} (SHA-256 `{str(source.get('sha256'))[:12]}…`)" for source in table.sources
        )
        names = ", ".join(f"`{name}`" for name in table.selectors)
        texts.append(
            f"`{table.space}/accuracy`: accuracies of trained networks, {names}; imported from {sources or 'unknown'}."
        )
    sizes = {file.name: _megabytes(file.num_bytes) for file in release.files}
    files = [(f"`{name}`", sizes.get(name, ""), what) for name, what in _files(release).items()]
    return "\n\n".join([*texts, _table(("file", "size", "what it is"), files)])


def _files(release: Release) -> dict[str, str]:
    store = "the store: zarr v3, metadata consolidated at the root and in each profile"
    forms = (
        {release.archive: f"{store}; one file, readable as it is"}
        if release.zip_only
        else {f"{release.store}/": store, release.archive: "the same in one file, readable as it is"}
    )
    return {
        **forms,
        "load.py": "opens the release in five lines",
        "SHA256SUMS": "sums of every file",
        "CHANGELOG.md": "releases, and what changed in them",
        "datacite.json": "metadata for a DOI (DataCite 4)",
        "croissant.json": "metadata for catalogues of data sets (Croissant 1.0)",
    }


def _loading(release: Release) -> str:
    where = release.url.rstrip("/") or "https://HOST/PATH"
    name = release.profiles[0].status.name
    ranges = f"`zip::{where}/{release.archive}` where the server answers range requests"
    elsewhere = (
        f"an address: {ranges}"
        if release.zip_only
        else f"`{release.archive}`, or an address: `{where}/{release.store}`, or\n{ranges}"
    )
    plain = (
        f'import xarray as xr\nfrom zarr.storage import ZipStore\n\nstore = ZipStore("{release.archive}", mode="r")'
        if release.zip_only
        else f'import xarray as xr\n\nstore = "{release.store}"'
    )
    return f"""Install sweetgrad (`pip install .` in a checkout; neither torch nor a GPU is needed), then `python load.py`, or

```python
from sweetgrad.store import open_profile

profile = open_profile("{release.store}", "{name}")
```

The location may also be {elsewhere}. Only what a question needs is read.

Plain zarr and xarray read it as well:

```python
{plain}
profile = xr.open_zarr(store, group="{name}")
```

{_BIN_RECIPE}"""


def _provenance(profile: ProfileInfo) -> str:
    spec = [(key, f"`{value}`") for key, value in profile.spec.to_attrs().items() if value != ""]
    facts: dict[str, dict[str, None]] = {}
    for run in profile.runs:
        for key, value in run.items():
            if key not in _NOT_PROVENANCE and value not in ("", None):
                facts.setdefault(key, {})[str(value)] = None
    made = [(key, ", ".join(f"`{value}`" for value in values)) for key, values in facts.items()]
    runs = f"{len(profile.runs)} run{'s' if len(profile.runs) != 1 else ''} since {profile.created}"
    return f"""### `{profile.status.name}`

One forward and one backward pass of each architecture at its initialisation, over one mini-batch that all share; absolute
gradients counted in {NUM_BINS} bins for each layer. Settings:

{_table(("setting", "value"), spec)}

Written by {runs}:

{_table(("fact", "value"), made) if made else "No facts about the runs were recorded."}"""


def _layout(release: Release) -> str:
    version = release.attributes.get("schema_version")
    rows = _variables(VARIABLES)
    estimators = (
        f"\n\nEstimators, one group for each under `estimators/`:\n\n{_variables(ESTIMATOR_VARIABLES)}"
        if any(profile.estimators for profile in release.profiles)
        else ""
    )
    held = {each.name for profile in release.profiles for each in profile.estimators}
    for name in sorted(DETAILS.keys() & held):
        estimators += f"\n\n`estimators/{name}` also has\n\n{_variables(DETAILS[name])}"
    return f"""Format version {version} of sweetgrad's store. Every profile has these variables:

{rows}

- `status`: {_codes(STATUS)}. Rows that are not *ok* hold no measurement.
- `kind`: {" and ".join(KINDS)}; *weight* is every parameter of two or more dimensions.
- `layer_type`: {_codes(LAYER_TYPES)}.
- `bin`: exact zeros; then {len(EDGES)} exact rational edges from 1e-10 to 10; then what is not finite. Every interval of 1 to 10
  equal parts an order of magnitude is a union of bins, so its count is exact.{estimators}"""


def _limits(release: Release) -> str:
    items = [
        "A profile is one batch and one seed of the initialisation: it does not say how much another batch or seed would change.",
        "Networks are at their initialisation, in training mode; nothing is said about trained networks.",
        "Histograms are kept, gradients are not. Thresholds that are no edge of the bins are answered by an estimate.",
        "Another kind of CPU or GPU, or another version of torch, may move the last bit of a gradient, and with it a count near "
        "an edge. What was used is said above.",
    ]
    failed = sum(profile.status.num_failed for profile in release.profiles)
    if failed:
        items.append(f"{failed:,} of the architectures failed: `message` says why, and they have no counts.")
    missing = sum(profile.status.num_not_run for profile in release.profiles)
    if missing:
        items.append(f"{missing:,} of the architectures were not run: whoever samples some must leave these out.")
    if release.accuracies:
        items.append(
            "Accuracies were made by others, with their own training; see their sources for how far to trust them."
        )
    return "\n".join(f"- {item}" for item in items)


def _checking(release: Release) -> str:
    return f"""```console
$ sha256sum --check --quiet SHA256SUMS
$ sweetgrad verify .
```

The second also checks the content: that every chunk decodes, that counts sum to the number of parameters, and that every row has
the digest that was stored with it. `sweetgrad verify URL` checks release {release.number} where it is served."""


def _licence(release: Release) -> str:
    licence = str(release.attributes.get("licence", ""))
    text = f"[{licence}]({licence_url(licence)})."
    if release.accuracies:
        text += " Accuracies come from the tables named above, under the licences of those."
    return text


def _citation(release: Release) -> str:
    doi = f", https://doi.org/{release.doi}" if release.doi else (f", {release.url}" if release.url else "")
    return f"""This data set:

> {release.authors} ({release.date.year}). {release.title} (release {release.number}){doi}.

And the method that it serves:

> {PAPER}."""


def _variables(table: Mapping[str, Variable]) -> str:
    rows = [(f"`{v.name}`", ", ".join(v.dims), v.dtype, v.units, v.doc) for v in table.values()]
    return _table(("variable", "dims", "dtype", "units", "meaning"), rows)


def _codes(codes: Mapping[str, int]) -> str:
    return ", ".join(f"{code} {word}" for word, code in codes.items())


def _megabytes(num_bytes: int) -> str:
    return f"{num_bytes / 1e6:,.2f} MB"


def _table(header: Iterable[str], rows: Iterable[Iterable[Any]]) -> str:
    header = tuple(header)
    lines = [header, ("---",) * len(header), *rows]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines)
