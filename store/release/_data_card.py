"""The data card of a release: its README."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from sweetgrad.store.format.bins import EDGES, NUM_BINS
from sweetgrad.store.format.blocks import ACTIVATIONS, MOMENTS, SCORES, VARIABLES
from sweetgrad.store.format.schema import KINDS, LAYER_TYPES, STATUS, Variable
from sweetgrad.store.overview import ProfileInfo
from sweetgrad.store.pages import render
from sweetgrad.store.release._release import PAPER, Release

_LICENCES = {"CC-BY-4.0": "https://creativecommons.org/licenses/by/4.0/"}
_NOT_PROVENANCE = {"started"}


def data_card(release: Release) -> str:
    """Markdown text: what it is, what is in it, how it was made, how to load, check and cite it, and what it cannot tell."""
    sizes = {file.name: _megabytes(file.num_bytes) for file in release.files}
    estimators = {estimator.name for profile in release.profiles for estimator in profile.estimators}
    licence = str(release.attributes.get("licence", ""))
    return render(
        Path(__file__).with_name("data_card.md.j2"),
        release=release,
        sizes=sizes,
        profile_rows=[_profile_row(profile) for profile in release.profiles],
        provenance=[_provenance(profile) for profile in release.profiles],
        variables=_variable_rows(VARIABLES.values()),
        # Those of every estimator of one number.
        estimator_variables=_variable_rows(SCORES) if estimators else [],
        block_variables={
            block.path: _variable_rows(block.arrays) for block in (ACTIVATIONS, MOMENTS) if block.name in estimators
        },
        codes={"status": _codes(STATUS), "layer_type": _codes(LAYER_TYPES)},
        kinds=KINDS,
        num_bins=NUM_BINS,
        num_edges=len(EDGES),
        licence=licence,
        licence_url=licence_url(licence),
        paper=PAPER,
    )


def licence_url(licence: str) -> str:
    """Address of a licence, or its name where the address is not known."""
    return _LICENCES.get(licence, licence)


def _profile_row(profile: ProfileInfo) -> list[str]:
    status = profile.status
    counts = (status.num_archs, status.num_ok, status.num_failed, status.num_not_run)
    return [
        f"`{status.name}`",
        *(f"{count:,}" for count in counts),
        _megabytes(profile.num_bytes or 0),
        f"`{profile.content_digest}`",
    ]


def _provenance(profile: ProfileInfo) -> dict[str, Any]:
    """Rows of the settings, and of every fact about the runs with its different values."""
    facts: dict[str, dict[str, None]] = {}
    for run in profile.runs:
        for key, value in run.items():
            if key not in _NOT_PROVENANCE and value not in ("", None):
                facts.setdefault(key, {})[str(value)] = None
    return {
        "profile": profile,
        "settings": [(key, f"`{value}`") for key, value in profile.spec.to_attrs().items() if value != ""],
        "facts": [(key, ", ".join(f"`{value}`" for value in values)) for key, values in facts.items()],
    }


def _variable_rows(variables: Iterable[Variable]) -> list[list[str]]:
    return [[f"`{v.name}`", ", ".join(v.dims), v.dtype, v.units, v.doc] for v in variables]


def _codes(codes: Mapping[str, int]) -> str:
    return ", ".join(f"{code} {word}" for word, code in codes.items())


def _megabytes(num_bytes: int) -> str:
    return f"{num_bytes / 1e6:,.2f} MB"
