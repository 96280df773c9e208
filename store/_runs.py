"""Facts about runs that their numbers may depend on, compared."""

from collections.abc import Iterable, Mapping
from typing import Any

MATTERS = ("sweetgrad", "torch", "device_name", "cpu_capability")
"""Facts about a run that may move the last bit of a gradient, as the attribute ``runs`` of a profile names them."""


def values_of(runs: Iterable[Mapping[str, Any]], key: str) -> set[str]:
    """Values of a fact in runs, as far as they say it."""
    return {str(run[key]) for run in runs if key in run}


def facts_that_differ(before: Iterable[Mapping[str, Any]], facts: Mapping[str, Any]) -> tuple[str, ...]:
    """Facts of `MATTERS` that an earlier run had otherwise, each as a sentence.

    Examples
    --------
    >>> facts_that_differ([{"torch": "2.6"}, {"torch": "2.7"}], {"torch": "2.7", "cpu_capability": "AVX2"})
    ('torch is 2.7 in this run, and was 2.6 in an earlier one',)
    """
    runs = list(before)
    others = {key: values_of(runs, key) - {str(facts[key])} for key in MATTERS if key in facts}
    return tuple(
        f"{key} is {facts[key]} in this run, and was {' or '.join(sorted(values))} in an earlier one"
        for key, values in others.items()
        if values
    )
