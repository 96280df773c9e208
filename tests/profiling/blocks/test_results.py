"""Results of functions of other packages: what does not fit fails one row of one block, and says why."""

import re
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from sweetgrad.profiling import make_spec, measures, profile_architectures, random_batch, unite_names
from sweetgrad.profiling.architectures import load_functions, parameter_axes
from sweetgrad.profiling.spaces.nas_bench_201 import NasBench201
from sweetgrad.store import STATISTICS, Variable, declare_block

BATCH = random_batch((3, 8, 8), num_classes=4, batch_size=2, seed=3)
DEAD, LIVE = 1421, 0
BLOCK = declare_block(
    "odd",
    "Whatever a test wants.",
    Variable("odd_tensor", ("arch", "tensor"), "float32", "1", "Of a tensor.", np.nan),
    Variable("odd_pair", ("arch", "layer", "pair"), "float32", "1", "Two of a layer.", np.nan),
    Variable("odd_number", ("arch",), "float32", "1", "Of the network.", np.nan),
    cost="0",
    sizes={"pair": 2},
)


@pytest.fixture
def profiled() -> Any:
    """Profile two architectures with a block, whose function may be given."""

    def profile(function: Any, *, space: Any = None, block: Any = BLOCK, **settings: Any) -> Any:
        space = space or NasBench201()
        measurer = measures(block, needs="network", **settings)(function)
        return profile_architectures(space, [LIVE, LIVE + 1], BATCH, make_spec(space, BATCH), blocks=[measurer])

    return profile


def right(probe: Any) -> dict[str, Any]:
    num_tensors, num_layers = len(probe.network.named_parameters()["tensor"]), len(probe.network.layers)
    return {
        "odd_tensor": np.arange(num_tensors),
        "odd_pair": np.arange(2 * num_layers).reshape(num_layers, 2),
        "odd_number": 7,
    }


def test_results__are_stored_under_their_names(profiled: Any) -> None:
    rows = profiled(right)
    assert rows["odd_status"].values.tolist() == [1, 1]
    assert rows["odd_number"].values.tolist() == [7, 7]
    np.testing.assert_array_equal(rows["odd_pair"].values[0], np.arange(38).reshape(19, 2))
    stored = rows["odd_tensor"][0]
    # The first architecture pools everywhere: of its cells there is nothing.
    present = stored[stored.notnull()]
    assert present.values.tolist() == list(range(len(present)))
    assert [str(name) for name in present.tensor.values[:2]] == ["stem.0", "reduction0.conv_a.1"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"odd_tensor": 3.0}, r"odd: odd_tensor has the shape \(\), expected \(8,\) for the dims tensor"),
        ({"odd_tensor": np.zeros(9)}, r"odd: odd_tensor has the shape \(9,\), expected \(8,\)"),
        (
            {"odd_pair": np.zeros((18, 2))},
            r"odd_pair has the shape \(18, 2\), expected \(19, 2\) for the dims layer, pair",
        ),
        ({"odd_pair": np.zeros(19)}, r"odd_pair has the shape \(19,\), expected \(19, 2\)"),
        ({"odd_number": [1, 2]}, r"odd_number has the shape \(2,\), expected \(\), a single number"),
        ({"odd_number": "many"}, "odd: could not convert string to float: .*many"),
        ({"odd_number": None, "odd_tensor": None}, "odd: .*odd_tensor has the shape"),
    ],
)
def test_results__that_do_not_fit_fail_the_row_of_the_block_alone(profiled: Any, change: Any, message: str) -> None:
    rows = profiled(lambda probe: {**right(probe), **change})
    assert rows["status"].values.tolist() == [1, 1]
    assert rows["odd_status"].values.tolist() == [2, 2]
    assert rows["odd_tensor"].isnull().all()
    assert re.search(message, rows["odd_message"].values[0])


def test_results__that_lack_a_variable_fail(profiled: Any) -> None:
    rows = profiled(lambda probe: {"odd_number": 1})
    assert rows["odd_message"].values[0] == "odd: its result lacks odd_tensor"


def test_a_parameter_that_the_space_does_not_name__fails_the_block(profiled: Any) -> None:
    class Forgetful(NasBench201):
        def parameter_axes(self) -> dict[str, dict[str, str]]:
            axes = super().parameter_axes()
            del axes["tensor"]["stem.0"]
            return axes

    rows = profiled(right, space=Forgetful())
    assert rows["status"].values.tolist() == [1, 1]
    assert rows["odd_message"].values[0] == (
        "odd: the network has the parameter 'stem.0', which parameter_axes() of its space does not name"
    )


@pytest.mark.parametrize("value", [(1, 2), [1], {"a": 1}, np.float64])
def test_settings__must_be_equal_to_what_json_makes_of_them(profiled: Any, value: Any) -> None:
    with pytest.raises(
        ValueError, match="setting 'how' of block 'odd' must be a string, number or boolean, or None; got"
    ):
        profiled(right, settings=lambda spec, batch: {"how": value})


def test_load_functions__refuses_a_block_with_the_name_of_another(profiled: Any) -> None:
    with pytest.raises(
        ValueError, match="block 'synflow' is one of sweetgrad's own, but another package registers 'Other"
    ):
        profiled(right, block=declare_block("synflow", "Other flows.", *BLOCK.contents, cost="0", sizes={"pair": 2}))


def test_load_functions__refuses_what_is_not_decorated(monkeypatch: pytest.MonkeyPatch) -> None:
    space = NasBench201()
    monkeypatch.setattr("sweetgrad.profiling.registry.load", lambda group, name: right)
    with pytest.raises(
        ValueError, match=r"block 'odd' is measured by <function right .*decorated with measures\(block\)"
    ):
        load_functions((), ["odd"], spec=make_spec(space, BATCH), batch=BATCH)


def test_parameter_axes__are_only_asked_of_a_space_if_a_block_has_them() -> None:
    without: Any = SimpleNamespace(name="nameless")
    assert parameter_axes(without, [STATISTICS["noise_pass"], STATISTICS["vkdnw"]]) == {}
    with pytest.raises(
        ValueError,
        match=r"\(tensor_sums, odd\) need .* search space 'nameless' has no parameter_axes\(\): leave these blocks out, or add",
    ):
        parameter_axes(without, [STATISTICS["tensor_sums"], STATISTICS["noise_pass"], BLOCK])


def test_unite_names__orders_numbers_as_numbers() -> None:
    space = NasBench201()
    network = space.build(space.arch_id(LIVE))
    assert list(unite_names([network])["tensor"]) == list(network.named_parameters()["tensor"])
