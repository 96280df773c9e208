"""The declaration of a variable, the codes of categorical values, and the coordinates of a profile."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

FORMAT_VERSION = 2
"""Version of the store format; a reader refuses a store with a greater one."""

KINDS = ("weight", "other")
"""``weight``: parameters of two or more dimensions (conv and linear weights); ``other``: norm affine and biases."""

LAYER_TYPES: dict[str, int] = {"padding": 0, "stem": 1, "cell": 2, "reduction": 3, "head": 4}
"""Codes of ``layer_type``; ``padding`` fills the end of architectures shallower than the deepest."""

LEAN = "rows_by_layer"
"""Attribute of a profile in a lean release: the rows before this number have ``grad_count``, those from it on have been left out.

Their ``grad_count_network`` and all other variables are there, with the digests of the whole rows.
"""

STATUS: dict[str, int] = {"not run": 0, "ok": 1, "failed": 2}
"""Codes of ``status``."""


def count_status(status: NDArray[np.uint8]) -> dict[str, int]:
    """Number of rows with each status, by its name in `STATUS`."""
    return {word: int((status == code).sum()) for word, code in STATUS.items()}


@dataclass(frozen=True)
class Variable:
    """One array of a profile.

    ``fill`` is the value of a row that was not run. ``role`` says who writes it: ``row`` variables are written shard by shard,
    ``coord`` variables once, when the profile is created. Values are rounded to ``keep_bits`` bits of the mantissa (beside the
    leading one), if it is set, before they are stored: the others are noise, which does not compress.
    """

    name: str
    dims: tuple[str, ...]
    dtype: str
    units: str
    doc: str
    fill: float | str = 0
    role: Literal["row", "coord"] = "row"
    keep_bits: int | None = None

    def rounded(self, values: NDArray[Any]) -> NDArray[Any]:
        """Values in the variable's type, to ``keep_bits`` bits; a value that is not finite stays as it is.

        Examples
        --------
        >>> Variable("x", ("arch",), "float32", "1", "", keep_bits=12).rounded(np.array([1 / 3, np.inf])).tolist()
        [0.33331298828125, inf]
        """
        if self.keep_bits is None:
            return values.astype(object if self.dtype == "str" else self.dtype)
        mantissa, exponent = np.frexp(values.astype(np.float64))
        scale = 2.0 ** (self.keep_bits + 1)
        with np.errstate(over="ignore", invalid="ignore"):
            return np.asarray(np.ldexp(np.round(mantissa * scale) / scale, exponent).astype(self.dtype))


COORDINATES = (
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
"""Variables of a profile that are written once, when it is created."""


def full(variable: Variable, sizes: Mapping[str, int]) -> np.ndarray:
    """Array of one variable in memory, filled with its fill value."""
    dtype = object if variable.dtype == "str" else variable.dtype
    return np.full([sizes[dim] for dim in variable.dims], variable.fill, dtype=dtype)
