"""Fill the page on the store format from the tables that the writer and the validator read, so that it cannot go stale."""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields

from sweetgrad.store import (
    ACCURACY_VARIABLES,
    ACTIVATIONS,
    EDGES,
    FORMAT_VERSION,
    KINDS,
    LAYER_TYPES,
    MOMENTS,
    NUM_BINS,
    STATISTICS,
    STATUS,
    TRAINING_VARIABLES,
    VARIABLES,
    ProfileSpec,
    Variable,
    bin_bounds,
    profile_block,
)
from sweetgrad.store.creation import DEFAULT_SHARD_SIZE
from sweetgrad.store.format.arrays import chunking
from sweetgrad.store.format.blocks import AXES, axis_variables

_NB201 = {"arch": 15625, "layer": 19, "kind": len(KINDS), "bin": NUM_BINS}


def on_page_markdown(markdown: str, *, page: object, **_: object) -> str:
    """Fill the placeholders ``{{ name }}`` of one page; called by mkdocs."""
    if getattr(page, "file").src_uri != "store-format.md":  # noqa: B009  (mkdocs' class has no types)
        return markdown
    for name, fill in _PLACEHOLDERS.items():
        assert f"{{{{ {name} }}}}" in markdown, name
        markdown = markdown.replace(f"{{{{ {name} }}}}", fill())
    assert "{{" not in markdown, "unknown placeholder in store-format.md"
    return markdown


def _named(variables: Iterable[Variable]) -> dict[str, Variable]:
    return {variable.name: variable for variable in variables}


def _variables(table: Mapping[str, Variable], role: str | None = None) -> str:
    rows = [
        (f"`{v.name}`", _dims(v), f"`{v.dtype}`", v.units or "", _fill(v.fill), v.doc)
        for v in table.values()
        if role in (None, v.role)
    ]
    return _table(("variable", "dims", "dtype", "units", "fill", "meaning"), rows)


def _chunks() -> str:
    rows = []
    for variable in VARIABLES.values():
        chunk, shard = chunking(variable, sizes=_NB201, shard_size=DEFAULT_SHARD_SIZE)
        shape = tuple(_NB201[dim] for dim in variable.dims)
        rows.append((f"`{variable.name}`", *(" x ".join(map(str, part or chunk)) for part in (shape, chunk, shard))))
    return _table(("variable", "shape", "chunk", "file"), rows)


def _bins() -> str:
    lower, upper = bin_bounds()
    meaning = {
        0: "gradient exactly 0",
        1: "smaller than the first edge, not 0",
        2: "first edge (inclusive) to second edge",
        NUM_BINS - 3: "last but one edge to last edge",
        NUM_BINS - 2: "from the last edge, finite",
        NUM_BINS - 1: "infinite or NaN",
    }
    rows = [(str(i), f"`{lower[i]!s}`", f"`{upper[i]!s}`", text) for i, text in meaning.items()]
    rows.insert(3, ("…", "", "", ""))
    return _table(("bin", "`bin_lower`", "`bin_upper`", "what falls into it"), rows)


def _blocks() -> str:
    """A heading, a sentence and a table for each block of statistics."""
    parts = []
    for block in STATISTICS.values():
        sizes = ", ".join(f"`{dim}` {size}" for dim, size in block.sizes)
        parts.append(f"### `{block.name}`\n\n{block.doc}{f' Sizes: {sizes}.' if sizes else ''}")
        parts.append(_variables(_named(block.contents)))
    return "\n\n".join(parts)


def _block_coordinates() -> str:
    return _variables(_named(variable for axis in AXES for variable in axis_variables(axis)))


def _codes(codes: Mapping[str, int]) -> str:
    return _table(("code", "meaning"), [(str(code), word) for word, code in codes.items()])


def _spec() -> str:
    section = (ProfileSpec.__doc__ or "").partition("----------\n")[2]
    docs: dict[str, str] = {}
    names: list[str] = []
    for line in section.splitlines():
        text = line.strip()
        if line.startswith("    ") and not line.startswith("        ") and text:
            names = [name.strip() for name in text.split(",")]
        elif text:
            docs.update({name: f"{docs.get(name, '')} {text}".strip() for name in names})
    types = {field.name: getattr(field.type, "__name__", str(field.type)) for field in fields(ProfileSpec)}
    groups: dict[str, list[str]] = {}
    for name in types:
        groups.setdefault(docs[name], []).append(name)
    rows = [
        (", ".join(f"`{n}`" for n in names), ", ".join(dict.fromkeys(f"`{types[n]}`" for n in names)), doc)
        for doc, names in groups.items()
    ]
    return _table(("field", "type", "meaning"), rows)


def _table(header: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [header, ("---",) * len(header), *rows]
    return "\n".join("| " + " | ".join(cell.replace("``", "`") for cell in line) + " |" for line in lines)


def _dims(variable: Variable) -> str:
    return f"({', '.join(variable.dims)})"


def _fill(fill: float | str) -> str:
    if isinstance(fill, str):
        return "empty"
    return "NaN" if math.isnan(fill) else f"{fill:g}"


_SOME = STATISTICS["synflow"]

_PLACEHOLDERS: dict[str, Callable[[], str]] = {
    "format_version": lambda: str(FORMAT_VERSION),
    "num_bins": lambda: str(NUM_BINS),
    "num_edges": lambda: str(len(EDGES)),
    "num_inner_bins": lambda: str(len(EDGES) - 1),
    "shard_size": lambda: str(DEFAULT_SHARD_SIZE),
    "row_variables": lambda: _variables(VARIABLES, "row"),
    "coord_variables": lambda: _variables(VARIABLES, "coord"),
    "estimator_variables": lambda: _variables(_named(profile_block("grad_norm").variables)),
    "moment_variables": lambda: _variables(_named(MOMENTS.contents)),
    "activation_variables": lambda: _variables(_named(ACTIVATIONS.contents)),
    "block_variables": lambda: _variables(_named(v for v in _SOME.variables if v not in _SOME.contents)),
    "block_coordinates": _block_coordinates,
    "blocks": _blocks,
    "accuracy_variables": lambda: _variables(ACCURACY_VARIABLES),
    "training_variables": lambda: _variables(TRAINING_VARIABLES),
    "chunks": _chunks,
    "bins": _bins,
    "status_codes": lambda: _codes(STATUS),
    "layer_type_codes": lambda: _codes(LAYER_TYPES),
    "spec": _spec,
}
