"""Every variable of a profile, in one table that the writer, the validator and the documentation read."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import xarray as xr

from sweetgrad.store.format.bins import NUM_BINS

FORMAT_VERSION = 2
"""Version of the store format; a reader refuses a store with a greater one."""

KINDS = ("weight", "other")
"""``weight``: parameters of two or more dimensions (conv and linear weights); ``other``: norm affine and biases."""

LAYER_TYPES: dict[str, int] = {"padding": 0, "stem": 1, "cell": 2, "reduction": 3, "head": 4}
"""Codes of ``layer_type``; ``padding`` fills the end of architectures shallower than the deepest."""

STATUS: dict[str, int] = {"not run": 0, "ok": 1, "failed": 2}
"""Codes of ``status``."""


@dataclass(frozen=True)
class Variable:
    """One array of a profile.

    ``fill`` is the value of a row that was not run. ``role`` says who writes it: ``row`` variables are written shard by shard,
    ``coord`` variables once, when the profile is created.
    """

    name: str
    dims: tuple[str, ...]
    dtype: str
    units: str
    doc: str
    fill: float | str = 0
    role: Literal["row", "coord"] = "row"


_TABLE = (
    Variable(
        "grad_count",
        ("arch", "layer", "kind", "bin"),
        "uint32",
        "parameters",
        "Parameters of a layer with abs(dJ/dtheta) in [bin_lower, bin_upper), compared in float32, at initialisation (Eq. 1).",
    ),
    Variable(
        "grad_count_network",
        ("arch", "kind", "bin"),
        "uint32",
        "parameters",
        "Sum of grad_count over the layers: all that a score of the whole network needs.",
    ),
    Variable(
        "grad_abs_sum",
        ("arch", "layer", "kind"),
        "float64",
        "1",
        "Sum of abs(dJ/dtheta) over the same parameters, to 24 significant bits.",
        np.nan,
    ),
    Variable(
        "grad_sq_sum",
        ("arch", "layer", "kind"),
        "float64",
        "1",
        "Sum of (dJ/dtheta)^2 over the same parameters, to 24 significant bits.",
        np.nan,
    ),
    Variable(
        "num_params",
        ("arch", "layer", "kind"),
        "uint32",
        "parameters",
        "Parameters of the layer, counted from the network and not from gradients: the sum of grad_count over bins.",
    ),
    Variable("layer_type", ("arch", "layer"), "int8", "1", f"What the layer is: {LAYER_TYPES}."),
    Variable("loss", ("arch",), "float32", "nat", "Mean cross-entropy over the batch at initialisation.", np.nan),
    Variable(
        "profile_seconds",
        ("arch",),
        "float32",
        "s",
        "Wall time of building, forward and backward pass and counting (of a failed one: until it failed); estimators have their "
        "own. The only variable that differs between two runs of one profile.",
        np.nan,
    ),
    Variable("message", ("arch",), "str", "", "Why the architecture failed; empty unless status is 2.", ""),
    Variable(
        "digest",
        ("arch",),
        "uint64",
        "1",
        "First 8 bytes of the SHA-256 over the row's other variables except profile_seconds: equal digests, equal measurements.",
    ),
    Variable("status", ("arch",), "uint8", "1", f"{STATUS}; written last, after everything else of its shard."),
    Variable("arch", ("arch",), "str", "", "Canonical architecture string of the search space.", "", "coord"),
    Variable("arch_index", ("arch",), "int32", "1", "Position of the architecture in the search space.", -1, "coord"),
    Variable("layer", ("layer",), "str", "", "Layer name, from input to output.", "", "coord"),
    Variable("kind", ("kind",), "str", "", f"Kind of parameter: {', '.join(KINDS)}.", "", "coord"),
    Variable(
        "bin_lower",
        ("bin",),
        "float64",
        "1",
        "Inclusive lower bound of the bin, nearest to the exact edge; NaN: not finite.",
        np.nan,
        "coord",
    ),
    Variable(
        "bin_upper",
        ("bin",),
        "float64",
        "1",
        "Exclusive upper bound of the bin, nearest to the exact edge; 0: exact zeros only.",
        np.nan,
        "coord",
    ),
)

MESSAGE = Variable("message", ("arch",), "str", "", "Why there is no finite score; empty unless status is 2.", "")
DIGEST = Variable(
    "digest",
    ("arch",),
    "uint64",
    "1",
    "First 8 bytes of the SHA-256 over the architecture string and the row's other variables in the order of their names, except "
    "seconds and status.",
)
"""Variables that every group with a ``status`` has; a profile, whose variables have an order of their own, in other words."""

VARIABLES: dict[str, Variable] = {variable.name: variable for variable in _TABLE}
"""Name to `Variable`, in the order in which a shard is written: ``status`` after every other row variable."""


def row_variables() -> tuple[Variable, ...]:
    """Variables that are written shard by shard, ``status`` last."""
    return tuple(variable for variable in _TABLE if variable.role == "row")


def empty_rows(arch: Sequence[str], arch_index: Sequence[int], *, layers: Sequence[str]) -> xr.Dataset:
    """Rows of a profile that were not run, in memory, for a writer to fill.

    Parameters
    ----------
    arch, arch_index
        Canonical string of each architecture and its position in the search space.
    layers
        Layer names, from input to output.

    Returns
    -------
    Every row variable of `VARIABLES`, dims as in the table, with its fill value.

    Examples
    --------
    >>> rows = empty_rows(["|none~0|"], [7], layers=["stem", "head"])
    >>> dict(rows.sizes)
    {'arch': 1, 'layer': 2, 'kind': 2, 'bin': 345}
    >>> int(rows.status.sum())
    0
    """
    sizes = {"arch": len(arch), "layer": len(layers), "kind": len(KINDS), "bin": NUM_BINS}
    data = {v.name: (v.dims, full(v, sizes), {"units": v.units, "doc": v.doc}) for v in row_variables()}
    coords = {
        "arch": list(arch),
        "arch_index": ("arch", np.asarray(arch_index, "int32")),
        "layer": list(layers),
        "kind": list(KINDS),
    }
    return xr.Dataset(data, coords=coords)


def full(variable: Variable, sizes: Mapping[str, int]) -> np.ndarray:
    """Array of one variable in memory, of fill values."""
    dtype = object if variable.dtype == "str" else variable.dtype
    return np.full([sizes[dim] for dim in variable.dims], variable.fill, dtype=dtype)
