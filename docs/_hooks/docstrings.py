"""Read our docstrings for the API pages: prose under Returns, equations, and names in single backticks as links."""

import importlib.util
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import griffe

_ROOMS = ("store", "analysis", "profiling", "flows")


class NumpyProse(griffe.Extension):
    """A griffe extension; called for each package after it was read, before anything is rendered."""

    def __init__(self) -> None:
        self._equation = _sibling("equations").equation
        self._public: dict[str, str] = {}

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Rewrite the docstring of one module, class, function or attribute."""
        if obj.docstring:
            value = re.sub(r"\.\. math:: *((?:.+\n?)(?:[ \t]+\S.*\n?)*)", self._math, obj.docstring.value)
            value = re.sub(r":math:`([^`]*)`", r"``\1``", value)
            value = _one_item_each(_returns_as_text(value))
            obj.docstring.value = re.sub(
                r"(?<![`\w\[])`(?:sweetgrad\.(?:\w+\.)+)?(\w+)`(?![`\]])", lambda found: self._link(found[1]), value
            )

    def _math(self, found: re.Match[str]) -> str:
        return f"{self._equation(found[1])}\n"

    def _link(self, name: str) -> str:
        public = self._public = self._public or _public_names()
        return f"[`{name}`][{public[name]}]" if name in public else f"`{name}`"


def _returns_as_text(docstring: str) -> str:
    """Indent prose under ``Returns``, whose type stands in the signature, as the text of an item without a type."""

    def indent(found: re.Match[str]) -> str:
        lines = found[2].rstrip().splitlines()
        return f"{found[1]}:\n" + "\n".join(f"    {line}".rstrip() for line in lines) + "\n"

    return re.sub(
        r"(^Returns\n-------\n)(.+?)(?=^\S[^\n]*\n---+$|\Z)", indent, docstring, flags=re.MULTILINE | re.DOTALL
    )


def _one_item_each(docstring: str) -> str:
    """Give names that share a text an item each, since griffe gives all of them the default and type of the first."""

    def repeat(found: re.Match[str]) -> str:
        first, *others = found[1].split(", ")
        return f"{first}\n{found[2]}" + "".join(f"{name}\n    See ``{first}``.\n" for name in others)

    return re.sub(r"^(\w+(?:, \w+)+)\n((?:[ ]{4}.*(?:\n|\Z))+)", repeat, docstring, flags=re.MULTILINE)


def _public_names() -> dict[str, str]:
    """Name to dotted path of everything in the ``__all__`` of a room."""
    names = {}
    for room in reversed(_ROOMS):  # a name that two rooms have links to the lower one
        folder = Path(__file__).parents[2] / room
        stub = folder / "__init__.pyi"  # of a room that loads its names when they are first used
        text = (stub if stub.exists() else folder / "__init__.py").read_text()
        listed = re.search(r"__all__ = \[(.*?)\]", text, flags=re.DOTALL)
        assert listed, room
        for name in re.findall(r'"(\w+)"', listed[1]):
            # Where a module has the name of its main function, griffe takes the name for the module.
            twin = f".{name}" if (folder / f"{name}.py").exists() else ""
            names[name] = f"sweetgrad.{room}.{name}{twin}"
    return names


def _sibling(name: str) -> ModuleType:
    # griffe loads this file by its path, so its folder is not on sys.path.
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
