"""NAS-Bench-NLP: recipes of the benchmark, parameters, the literal network, and random recipes."""

import gzip
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from sweetgrad.profiling import load_batch, load_space, make_spec, profile_architectures
from sweetgrad.profiling.spaces.nas_bench_nlp import LanguageModel, NasBenchNlp, num_params
from sweetgrad.store.benchmarks import detect_format, read_accuracy_file
from sweetgrad.store.spaces.recipes import read_recipe

GRU: dict[str, Any] = {
    "r": {"op": "linear", "input": ["x", "h_prev_0"]},
    "r_act": {"op": "activation_sigm", "input": ["r"]},
    "z": {"op": "linear", "input": ["x", "h_prev_0"]},
    "z_act": {"op": "activation_sigm", "input": ["z"]},
    "rh": {"op": "elementwise_prod", "input": ["r_act", "h_prev_0"]},
    "n": {"op": "linear", "input": ["x", "rh"]},
    "n_act": {"op": "activation_tanh", "input": ["n"]},
    "h_new_0": {"op": "blend", "input": ["z_act", "n_act", "h_prev_0"]},
}
TWO_STATES: dict[str, Any] = {
    "a": {"op": "linear", "input": ["h_prev_1", "h_prev_0", "x"]},
    "h_new_1": {"op": "activation_leaky_relu", "input": ["a"]},
    "h_new_0": {"op": "elementwise_sum", "input": ["h_new_1", "x"]},
}
SMALL = {"embedding": 6, "hidden": 8, "num_archs": 4}


def literal(recipe: dict[str, Any], model: LanguageModel, tokens: torch.Tensor) -> torch.Tensor:
    """One token, one node after the other, as the recipe says."""
    parameters = dict(model.named_parameters())
    x_NTC = parameters["embedding.weight"][tokens]
    for number, layer in enumerate(model.layers):
        size: Any = layer._size
        num_hidden = sum(name.startswith("h_new") for name in recipe)
        states = [torch.zeros(len(tokens), size, dtype=x_NTC.dtype) for _ in range(num_hidden)]
        outputs = []
        for t in range(tokens.shape[1]):
            values = {"x": x_NTC[:, t], **{f"h_prev_{k}": state for k, state in enumerate(states)}}
            todo = dict(recipe)
            while todo:
                name = next(n for n, node in todo.items() if all(source in values for source in node["input"]))
                op, inputs = todo[name]["op"], [values[source] for source in todo.pop(name)["input"]]
                if op == "linear":
                    prefix = f"layers.{number}.linear.{name}"
                    weights = [parameters[f"{prefix}.weights.{i}"] for i in range(len(inputs))]
                    values[name] = (
                        sum(v @ w.T for v, w in zip(inputs, weights, strict=True)) + parameters[f"{prefix}.bias"]
                    )
                elif op == "blend":
                    values[name] = inputs[0] * inputs[1] + (1 - inputs[0]) * inputs[2]
                elif op.startswith("elementwise"):
                    values[name] = inputs[0] * inputs[1] if op.endswith("prod") else inputs[0] + inputs[1]
                else:
                    kind = op.removeprefix("activation_")
                    function = {"tanh": torch.tanh, "sigm": torch.sigmoid}.get(kind)
                    values[name] = (
                        function(inputs[0]) if function else torch.where(inputs[0] > 0, inputs[0], 0.01 * inputs[0])
                    )
            states = [values[f"h_new_{k}"] for k in range(num_hidden)]
            outputs.append(states[0])
        x_NTC = torch.stack(outputs, 1)
    return x_NTC @ parameters["embedding.weight"].T + parameters["decoder.bias"]


@pytest.mark.parametrize("recipe", [GRU, TWO_STATES], ids=["gru", "two states"])
def test_build__is_the_literal_network(recipe: dict[str, Any]) -> None:
    torch.manual_seed(0)
    sizes = (6, 8, 3) if recipe is GRU else (6, 6, 3)  # x is added to a state, so all sizes are equal
    model = LanguageModel(read_recipe(recipe), 11, *sizes).double()
    tokens = torch.randint(0, 11, (3, 5))
    ours, theirs = model(tokens), literal(recipe, model, tokens)
    torch.testing.assert_close(ours, theirs)
    names = [name for name, _ in model.named_parameters()]
    for a, b in zip(
        *(torch.autograd.grad(out.square().sum(), list(model.parameters())) for out in (ours, theirs)), strict=True
    ):
        torch.testing.assert_close(a, b)
    assert names.count("embedding.weight") == 1


def test_build__initialises_as_the_benchmark_does() -> None:
    space: Any = load_space("nas-bench-nlp", options={"num_archs": 1})
    torch.manual_seed(0)
    network = space.build(json.dumps(GRU), in_channels=70, num_classes=50)
    for name, parameter in network.module.named_parameters():
        size = parameter.shape[0]
        bound = 0.1 if name == "embedding.weight" else 0.0 if name == "decoder.bias" else 1 / math.sqrt(size)
        assert float(parameter.detach().abs().max()) <= bound
        if bound:
            assert float(parameter.detach().std()) == pytest.approx(bound / math.sqrt(3), rel=0.15)
    assert sum(p.numel() for p in network.module.parameters()) == num_params(json.dumps(GRU), num_classes=50)


def test_profile__counts_every_parameter_in_layers_and_blocks() -> None:
    space: Any = load_space("nas-bench-nlp", options=SMALL)
    batch = load_batch("text", batch_size=3, second=True)
    spec = make_spec(space, batch)
    rows = profile_architectures(space, [0, 1], batch, spec, blocks=["tensor_sums", "second_batch"])
    assert rows["status"].values.tolist() == [1, 1]
    assert rows["layer"].values.tolist() == ["embedding", "layer0", "layer1", "layer2", "decoder"]
    for row, arch in enumerate(rows["arch"].values):
        assert int(rows["num_params"][row].sum()) == num_params(
            arch, num_classes=batch.num_classes, embedding=6, hidden=8
        )
    # log V, since nothing is learnt yet.
    assert float(rows["loss"][0]) == pytest.approx(math.log(batch.num_classes), rel=0.02)
    total = rows["grad_sq_sum"][0].sel(kind="weight").sum()
    assert float(rows["tensor_grad_sq_sum"][0].sum()) == pytest.approx(float(total), rel=1e-3)
    with pytest.raises(
        ValueError,
        match="noise_pass is defined for image classification, and the networks of nas-bench-nlp are for lang",
    ):
        profile_architectures(space, [0], batch, spec, blocks=["noise_pass"])


def test_estimators__of_sequences_are_those_of_a_plain_loop() -> None:
    space: Any = load_space("nas-bench-nlp", options=SMALL)
    batch = load_batch("text", batch_size=3)
    spec = make_spec(space, batch)
    names = ("gradsign", "grasp", "grad_norm", "params")
    rows = profile_architectures(space, [1], batch, spec, estimators=names, blocks=["per_image"])
    score = dict(zip(names, rows["score"].values[0].tolist(), strict=True))
    torch.manual_seed(spec.seed)
    module = space.build(space.arch_id(1), in_channels=70, num_classes=batch.num_classes).module
    weights = [p for p in module.parameters() if p.ndim >= 2]

    def gradients(n: slice, *, create_graph: bool = False) -> list[torch.Tensor]:
        x, y = torch.from_numpy(batch.x[n]), torch.from_numpy(batch.y[n])
        loss = torch.nn.functional.cross_entropy(module(x).reshape(-1, batch.num_classes), y.reshape(-1))
        return list(torch.autograd.grad(loss, weights, create_graph=create_graph))

    single = [gradients(slice(n, n + 1)) for n in range(3)]
    signs = sum(float(sum(g.sign() for g in grads).abs().sum()) for grads in zip(*single, strict=True))
    assert score["gradsign"] == pytest.approx(signs)
    squares = sum(float(g.square().sum()) for grads in single for g in grads)
    assert float(rows["tensor_image_grad_sq_sum"][0].sum()) == pytest.approx(squares, rel=1e-3)
    grads = gradients(slice(3), create_graph=True)
    product = torch.autograd.grad(torch.stack([(g * g.detach()).sum() for g in grads]).sum(), weights)
    assert score["grasp"] == pytest.approx(
        -sum(float((w.detach() * h).sum()) for w, h in zip(weights, product, strict=True)), rel=1e-3
    )
    with pytest.raises(ValueError, match="synflow is defined for image classification"):
        profile_architectures(space, [1], batch, spec, estimators=["synflow"])


def test_random_recipes__are_an_endless_list_of_different_ones() -> None:
    one, other = NasBenchNlp(num_archs=30), NasBenchNlp(num_archs=60)
    recipes = [one.arch_id(index) for index in range(30)]
    assert recipes == [other.arch_id(index) for index in range(30)]
    assert len(set(recipes)) == 30
    assert {read_recipe(recipe).num_hidden for recipe in recipes} == {1, 2, 3}
    axes = one.parameter_axes()
    small: Any = load_space("nas-bench-nlp", options=SMALL)
    for recipe in recipes:
        named = small.build(recipe, in_channels=1, num_classes=5).named_parameters()
        for axis, found in named.items():
            assert {name: layer for name, (layer, _) in found.items()}.items() <= axes[axis].items()


def without(recipe: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: node for name, node in recipe.items() if name not in names}


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        ("[]", "no JSON object"),
        ('{"h_new_0"', "not a recipe"),
        ("[" * 70_000, "characters"),
        ('{"f": {"op": "linear", "input": ["x"]}, "f": {"op": "linear", "input": ["x"]}}', "'f' occurs twice"),
        (GRU | {"r": {"op": "conv", "input": ["x"]}}, "node 'r' has the operation 'conv', expected linear"),
        (
            GRU | {"r_act": {"op": "activation_sigm", "input": ["r", "z"]}},
            "'r_act', activation_sigm, has 2 inputs, expected 1",
        ),
        (GRU | {"r": {"op": "linear", "input": ["x", "n_act"]}}, "form a cycle"),
        (GRU | {"r": {"op": "linear", "input": ["x", "h_prev_1"]}}, "'h_prev_1' is used, but is no node"),
        (without(GRU, "h_new_0"), "the new states must be"),
        (without(GRU, "h_new_0") | {"h_new_1": GRU["h_new_0"]}, "without a gap, at least one, got h_new_1"),
        (GRU | {"idle": {"op": "linear", "input": ["x"]}}, "node 'idle' leads nowhere"),
        ({"h_new_0": {"op": "linear", "input": ["x"]}}, "input 'h_prev_0' is not used"),
        ({"h_new_0": {"op": "linear", "input": ["h_prev_0"]}}, "input 'x' is not used"),
        ({"x": {"op": "linear", "input": ["x"]}}, "'x' cannot name a node"),
        ({"h_new_0": {"op": "linear", "input": "x"}}, "must be a list of names"),
        ({"h_new_0": {"op": "linear"}}, "must have op and input"),
    ],
)
def test_read_recipe__says_what_is_wrong(recipe: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_recipe(recipe)


def test_accuracies__are_the_probability_of_the_right_token(tmp_path: Path) -> None:
    entries: list[dict[str, Any]] = [
        {"recepie": GRU, "ptb_loss_runs": [4.0, 5.0], "ptb_loss_mean": 4.5},
        {"recepie": TWO_STATES, "ptb_loss_runs": [], "ptb_loss_mean": None},
    ]
    path = tmp_path / "recipes.json"
    path.write_text(json.dumps(entries))
    assert detect_format(path) == "nas-bench-nlp"
    table = read_accuracy_file(path, space="nas-bench-nlp").set_index("split")
    assert table["accuracy"].to_dict() == pytest.approx(
        {"test": 100 * math.exp(-4.5), "test-run0": 100 * math.exp(-4), "test-run1": 100 * math.exp(-5)}
    )
    assert set(table["arch"]) == {str(read_recipe(GRU))}
    space = NasBenchNlp(path)
    assert [space.arch_id(index) for index in range(len(space))] == [
        str(read_recipe(GRU)),
        str(read_recipe(TWO_STATES)),
    ]
    path.write_text(json.dumps([entries[0], entries[0]]))
    with pytest.raises(ValueError, match="entries 0 and 1 have the same recipe"):
        NasBenchNlp(path)
    path.write_text(json.dumps([{**entries[0], "ptb_loss_mean": -1}]))
    with pytest.raises(ValueError, match="entry 0: a loss must be a positive number of nats, got -1"):
        read_accuracy_file(path, space="nas-bench-nlp")


@pytest.mark.shared_data
def test_num_params__equal_the_published_numbers(shared_data: Path) -> None:
    path = shared_data / "benchmarks" / "nas-bench-nlp-recipes.json.gz"
    with gzip.open(path) as file:
        entries = json.load(file)
    space = NasBenchNlp(path)
    assert len(space) == 4_322
    known = [(index, entry["params"]) for index, entry in enumerate(entries) if entry["params"] is not None]
    assert len(known) == 4_114
    assert all(num_params(space.arch_id(index)) == params for index, params in known)
    table = read_accuracy_file(path, space="nas-bench-nlp")
    assert (table["split"] == "test").sum() == 3_371
