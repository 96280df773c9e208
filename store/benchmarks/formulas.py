"""Texts in a CSV that a spreadsheet would run as formulas: they get an apostrophe, which the reader takes off again."""

import re
from collections.abc import Callable, Sequence

import pandas as pd

_FORMULA = re.compile(r"'*[=+\-@\t\r\n]")
_ESCAPED = re.compile(r"'+[=+\-@\t\r\n]")


def escaped(table: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """The table with an apostrophe before each text of these columns that begins as a formula does, after apostrophes or not.

    Examples
    --------
    >>> escaped(pd.DataFrame({"split": ["=1+1", "'-x", "test"]}), ["split"])["split"].tolist()
    ["'=1+1", "''-x", 'test']
    """
    return _mapped(table, columns, lambda text: f"'{text}" if _FORMULA.match(text) else text)


def unescaped(table: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """The inverse of `escaped`.

    Examples
    --------
    >>> table = pd.DataFrame({"split": ["=1+1", "'-x", "'x", "test"]})
    >>> unescaped(escaped(table, ["split"]), ["split"])["split"].tolist() == table["split"].tolist()
    True
    """
    return _mapped(table, columns, lambda text: text[1:] if _ESCAPED.match(text) else text)


def _mapped(table: pd.DataFrame, columns: Sequence[str], change: Callable[[str], str]) -> pd.DataFrame:
    changed = {
        name: table[name].map(lambda value: change(value) if isinstance(value, str) else value) for name in columns
    }
    return table.assign(**changed)
