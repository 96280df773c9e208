"""Predicted accuracies: NAS-Bench-301 has no table of its 10^18 networks, but surrogates that were fitted to 60,000 of them.

A `Surrogate` is any object that predicts accuracies from genotypes. `OnnxSurrogate` is the neural one of YAHPO; those of the
authors take six lines:

.. code-block:: python

    class Official:
        epochs = 100

        def __init__(self, ensemble):  # nasbench301.load_ensemble("xgb_v1.0")
            self.ensemble = ensemble

        def predict(self, genotypes):
            found = [namedtuple_of(parse_genotype(g)) for g in genotypes]
            return np.array([self.ensemble.predict(config=g, representation="genotype", with_noise=False) for g in found])
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sweetgrad.store.benchmarks.opening import Progress
from sweetgrad.store.errors import how_to_install
from sweetgrad.store.spaces.genotypes import ABSENT, Genotype, parse_genotype, to_config

_MAX_KEYS_BYTES = 1 << 20
_MAX_MODEL_BYTES = 1 << 30
_BATCH = 1024


@runtime_checkable
class Surrogate(Protocol):
    """A model of a benchmark.

    Attributes
    ----------
    epochs
        Number of training epochs for which it predicts the accuracy.
    """

    epochs: int

    def predict(self, genotypes: Sequence[str]) -> NDArray[np.float64]:
        """Validation accuracy of each genotype in %; NaN outside the space to which the model was fitted."""
        ...


def predict_accuracies(
    surrogate: Surrogate, archs: Sequence[str], *, dataset: str = "cifar10", split: str = "valid-surrogate"
) -> pd.DataFrame:
    """Tidy table of the predictions of a surrogate.

    Parameters
    ----------
    surrogate
        The model.
    archs
        Genotypes, each the canonical string of its architecture.
    dataset, split
        Names in the store. The split marks them as predictions, so that they are never mixed with trained accuracies.

    Raises
    ------
    ValueError
        If an architecture is not a genotype, or the model returns the wrong number of values.
    """
    values = np.asarray(surrogate.predict(list(archs)), dtype=np.float64)
    if values.shape != (len(archs),):
        raise ValueError(
            f"the surrogate must return one accuracy for each of {len(archs)} genotypes, got shape {values.shape}"
        )
    return pd.DataFrame(
        {"arch": list(archs), "dataset": dataset, "split": split, "epochs": surrogate.epochs, "accuracy": values}
    )


class OnnxSurrogate:
    """The surrogate of NAS-Bench-301 in YAHPO: an ONNX model, and a JSON file with the codes of its inputs.

    Parameters
    ----------
    model
        File ``.onnx`` with the inputs ``x_cat`` (int32, one column for each key) and ``x_cont`` (float, the epoch), whose first
        output is the validation accuracy as a fraction.
    keys
        JSON file with the codes of the values of each key, in the order of ``x_cat``. None: the file of the same name with
        ``.json``.
    epochs
        Epoch for which the accuracy is predicted, 1 to 98.

    Raises
    ------
    ImportError
        If onnxruntime is not installed.
    ValueError
        If a file is missing, or has other content.
    """

    def __init__(self, model: str | Path, keys: str | Path | None = None, *, epochs: int = 98) -> None:
        try:
            import onnxruntime
        except ImportError as error:
            raise ImportError(f"reading {model} needs onnxruntime: {how_to_install('surrogate')}") from error
        if not 1 <= epochs <= 98:
            raise ValueError(f"epochs must be from 1 to 98 for this surrogate, got {epochs}")
        self.epochs = epochs
        self._path = Path(model)
        self._codes = _read_codes(Path(keys) if keys is not None else self._path.with_suffix(".json"))
        if not self._path.is_file() or self._path.stat().st_size > _MAX_MODEL_BYTES:
            raise ValueError(f"{model}: expected a file of at most {_MAX_MODEL_BYTES:,} bytes")
        try:
            # As bytes: a model that is given by its path could refer to other files beside it.
            session = onnxruntime.InferenceSession(self._path.read_bytes(), providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime has many exceptions for invalid files
            raise ValueError(f"{model} cannot be read as an ONNX model ({error})") from error
        inputs = {each.name: (each.type, each.shape[-1]) for each in session.get_inputs()}
        if inputs != {"x_cat": ("tensor(int32)", len(self._codes)), "x_cont": ("tensor(float)", 1)}:
            raise ValueError(
                f"{model} has the inputs {inputs}; expected x_cat (int32, {len(self._codes)} columns, as in "
                f"{keys or 'its .json'}) and x_cont (float, one column)"
            )
        self._session = session

    def predict(self, genotypes: Sequence[str]) -> NDArray[np.float64]:
        """Validation accuracy after `epochs` in %; NaN for a genotype with an operation or inputs that NAS-Bench-301 lacks."""
        values = np.full(len(genotypes), np.nan)
        codes = [self._encode(parse_genotype(genotype)) for genotype in genotypes]
        inside = [place for place, code in enumerate(codes) if code is not None]
        for start in range(0, len(inside), _BATCH):
            places = inside[start : start + _BATCH]
            x_cat = np.array([codes[place] for place in places], dtype=np.int32)
            x_cont = np.full((len(places), 1), self.epochs, dtype=np.float32)
            values[places] = 100 * self._session.run(None, {"x_cat": x_cat, "x_cont": x_cont})[0][:, 0]
        # Single precision: digits after the third decimal differ between machines, and would look like another version.
        return values.round(3)

    def _encode(self, genotype: Genotype) -> list[int] | None:
        try:
            config = to_config(genotype)
        except ValueError:
            return None
        if any(config[key] not in self._codes.get(key, {}) for key in config):
            return None
        return [codes[config.get(key, ABSENT)] for key, codes in self._codes.items()]


def read_surrogate(path: Path, archs: Sequence[str] | None, progress: Progress | None = None) -> pd.DataFrame:
    """Table of the predictions of an ONNX model for these architectures.

    Raises
    ------
    ValueError
        If no architectures are given: a surrogate has no list of its own.
    """
    if not archs:
        raise ValueError(
            f"{path} is a surrogate, which predicts given architectures, but got none. Profile the space first, or give archs="
        )
    table = predict_accuracies(OnnxSurrogate(path), archs)
    if progress is not None:
        progress(len(archs), len(archs))
    return table


def _read_codes(path: Path) -> dict[str, dict[str, int]]:
    expected = "expected a dictionary of keys, each with a dictionary of values and codes"
    if not path.is_file() or path.stat().st_size > _MAX_KEYS_BYTES:
        raise ValueError(
            f"no file {path} of at most {_MAX_KEYS_BYTES:,} bytes with the codes of the inputs: {expected}"
        )
    try:
        content: Any = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} cannot be read as JSON ({error}): {expected}") from error
    if not isinstance(content, Mapping) or not all(_is_coded(codes) for codes in content.values()):
        raise ValueError(f"{path}: {expected}, {ABSENT!r} among the values")
    return {str(key).replace("_COLON_", ":"): dict(codes) for key, codes in content.items()}


def _is_coded(codes: Any) -> bool:
    return isinstance(codes, dict) and ABSENT in codes and all(type(code) is int for code in codes.values())
