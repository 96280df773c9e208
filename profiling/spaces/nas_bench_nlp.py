"""NAS-Bench-NLP (Klyuchnikov et al., IEEE Access 2022): recurrent cells in a language model of three layers."""

import itertools
import math
import re
from collections.abc import Iterator
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from sweetgrad.profiling.spaces.protocol import Layer, Network, check_index
from sweetgrad.profiling.tasks import LANGUAGE_MODELLING
from sweetgrad.store.benchmarks.nas_bench_nlp import read_recipes
from sweetgrad.store.spaces.recipes import MAX_HIDDEN, Node, Recipe, read_recipe

EMBEDDING = 400
HIDDEN = 600
LAYERS = 3

_LEAKY_SLOPE = 0.01
_EMBEDDING_RANGE = 0.1

_NUM_NODES = 13
_OPERATIONS = ("linear", "blend", "elementwise_prod", "elementwise_sum")
_PROBABILITIES = (1 / 2, 1 / 6, 1 / 6, 1 / 6)
_ACTIVATIONS = ("activation_tanh", "activation_sigm", "activation_leaky_relu")
_TWO_INPUTS = 0.8


class NasBenchNlp:
    """Recipes of recurrent cells: those of a table, in its order, or random ones as the benchmark's generator draws them.

    An architecture string is the recipe itself as JSON (`sweetgrad.store.spaces.recipes`), so `build` also accepts recipes that
    are in no list. The random ones are an endless list of different recipes, which is the same everywhere.

    Parameters
    ----------
    table
        A JSON file (also .gz): a list of recipes, or of entries with the key ``recepie`` (as the published logs spell it) or
        ``recipe``. None: ``num_archs`` random recipes.
    num_archs
        Number of random recipes.
    embedding, hidden, layers
        Sizes of the embedding and of the inner layers; number of layers. The last layer has the size of the embedding, whose
        weights are also those of the decoder.

    Raises
    ------
    ValueError
        If the table cannot be read, or a size is less than 1.

    Examples
    --------
    >>> space = NasBenchNlp(num_archs=2)
    >>> network = space.build(space.arch_id(0), in_channels=70, num_classes=10)
    >>> [layer.name for layer in network.layers]
    ['embedding', 'layer0', 'layer1', 'layer2', 'decoder']
    """

    name = "nas-bench-nlp"
    variant = ""
    init = "nas-bench-nlp"
    task = LANGUAGE_MODELLING.name
    # Not an image: the length of a sequence, as the benchmark has it.
    input_size = 70
    tables = ("benchmarks/nas-bench-nlp-recipes.json.gz",)
    open_ended = True

    def __init__(
        self,
        table: Path | str | None = None,
        *,
        num_archs: int = 1000,
        embedding: int = EMBEDDING,
        hidden: int = HIDDEN,
        layers: int = LAYERS,
    ) -> None:
        sizes = {"num_archs": num_archs, "embedding": embedding, "hidden": hidden, "layers": layers}
        wrong = [name for name, value in sizes.items() if type(value) is not int or value < 1]
        if wrong:
            raise ValueError(f"{wrong[0]} must be a whole number from 1 on, got {sizes[wrong[0]]!r}")
        self._sizes = (embedding, hidden, layers)
        self.open_ended = table is None
        self._archs = different_recipes(num_archs) if table is None else read_recipes(Path(table))
        self.layer_names = ("embedding", *(f"layer{k}" for k in range(layers)), "decoder")
        defaults = {"embedding": EMBEDDING, "hidden": HIDDEN, "layers": LAYERS}
        self.options = {name: sizes[name] for name, default in defaults.items() if sizes[name] != default}
        self.variant = "-".join(f"{name[0]}{value}" for name, value in self.options.items())

    def __len__(self) -> int:
        """Number of recipes."""
        return len(self._archs)

    def arch_id(self, index: int) -> str:
        """Canonical string of a recipe.

        Raises
        ------
        IndexError
            If there is no such recipe.
        """
        check_index(index, len(self))
        return self._archs[index]

    def build(self, arch_id: str, *, in_channels: int, num_classes: int) -> Network:
        """Build the language model of any recipe.

        Parameters
        ----------
        arch_id
            Recipe, as in `read_recipe`.
        in_channels
            Ignored: a recurrent network takes sequences of any length.
        num_classes
            Size of the vocabulary.

        Raises
        ------
        ValueError
            If it is not a recipe.
        """
        del in_channels
        module = LanguageModel(read_recipe(arch_id), num_classes, *self._sizes)
        parts = (module.embedding, *module.layers, module.decoder)
        types = ("stem", *("cell" for _ in module.layers), "head")
        return Network(
            module, tuple(Layer(n, t, (part,)) for n, t, part in zip(self.layer_names, types, parts, strict=True))
        )

    def parameter_axes(self) -> dict[str, dict[str, str]]:
        """Names of the parameters of all networks: a weight for each input of each linear node, and a bias."""
        nodes = {f"node_{place}": 3 for place in range(_NUM_NODES)} if self.open_ended else self._linear_nodes()
        tensor, vector = {"embedding": "embedding"}, {}
        for layer in self.layer_names[1:-1]:
            for node, num_inputs in nodes.items():
                tensor |= {f"{layer}.linear.{node}.weights.{place}": layer for place in range(num_inputs)}
                vector[f"{layer}.linear.{node}.bias"] = layer
        return {"tensor": tensor, "vector": vector | {"decoder.bias": "decoder"}}

    def _linear_nodes(self) -> dict[str, int]:
        """Names of the linear nodes of all recipes of the list, and the most inputs that each has."""
        found: dict[str, int] = {}
        for arch in self._archs:
            for node in read_recipe(arch).nodes:
                if node.operation == "linear":
                    found[node.name] = max(found.get(node.name, 0), len(node.inputs))
        return {name: found[name] for name in sorted(found, key=_by_number)}


def num_params(arch_id: str, *, num_classes: int = 10_000, embedding: int = EMBEDDING, hidden: int = HIDDEN) -> int:
    """Number of parameters of the language model with three layers, from the recipe alone.

    Examples
    --------
    >>> num_params('{"f": {"op": "linear", "input": ["x", "h_prev_0"]}, "h_new_0": {"op": "activation_tanh", "input": ["f"]}}')
    5731600
    """
    recipe = read_recipe(arch_id)
    total = num_classes * embedding + num_classes
    for size, output in pairwise([embedding, *[hidden] * (LAYERS - 1), embedding]):
        for node in recipe.nodes:
            if node.operation == "linear":
                total += sum((size if source == "x" else output) * output for source in node.inputs) + output
    return total


@lru_cache(maxsize=2)
def different_recipes(num: int) -> tuple[str, ...]:
    """The first ``num`` different recipes of random ones: the number of a draw is its seed."""
    found: dict[str, None] = {}
    for seed in itertools.count():
        if len(found) == num:
            return tuple(found)
        found[str(random_recipe(np.random.RandomState([seed, 0])))] = None
    raise AssertionError


def random_recipe(random: np.random.RandomState) -> Recipe:
    """Draw a recipe by the rules of the benchmark's generator.

    One to three states and 13 nodes; three linear nodes for each one that blends, multiplies or adds; a linear node has two
    inputs (probability .8) or three and is followed by an activation. Nodes without a path to a new state are removed. What does
    not use x and every state is drawn again.

    Parameters
    ----------
    random
        Source of all draws.
    """
    while True:
        found = _draw(random)
        if found is not None:
            return found


def _draw(random: np.random.RandomState) -> Recipe | None:
    num_hidden = int(random.randint(1, MAX_HIDDEN + 1))
    states = [f"h_prev_{k}" for k in range(num_hidden)]
    nodes: dict[str, dict[str, Any]] = {}
    inner = list(states)  # what a node may take, apart from x
    for place in range(_NUM_NODES):
        operation = _OPERATIONS[int(random.choice(len(_OPERATIONS), p=_PROBABILITIES))]
        name = f"node_{place}"
        if operation == "linear":
            num = 2 if random.random_sample() < _TWO_INPUTS else 3
            nodes[name] = {"op": operation, "input": _some(["x", *inner], num, random)}
            activation = _ACTIVATIONS[random.randint(len(_ACTIVATIONS))]
            nodes[f"{name}_act"] = {"op": activation, "input": [name]}
            inner.append(f"{name}_act")
        else:
            num = 3 if operation == "blend" else 2
            if len(inner) < num:
                return None
            nodes[name] = {"op": operation, "input": _some(inner, num, random)}
            inner.append(name)
    outputs = [str(name) for name in random.permutation([name for name in inner if name not in states])[:num_hidden]]
    renamed = {name: f"h_new_{k}" for k, name in enumerate(outputs)}
    kept = _reaching(nodes, outputs)
    form = {
        renamed.get(name, name): {**parts, "input": [renamed.get(source, source) for source in parts["input"]]}
        for name, parts in nodes.items()
        if name in kept
    }
    try:
        return read_recipe(form)
    except ValueError:  # an input is not used
        return None


def _some(names: list[str], num: int, random: np.random.RandomState) -> list[str]:
    return [names[place] for place in random.permutation(len(names))[:num]]


def _reaching(nodes: dict[str, dict[str, Any]], outputs: list[str]) -> set[str]:
    """Nodes with a path to one of the outputs."""
    kept: set[str] = set()
    todo = list(outputs)
    while todo:
        name = todo.pop()
        if name in nodes and name not in kept:
            kept.add(name)
            todo += nodes[name]["input"]
    return kept


def _by_number(name: str) -> tuple[tuple[bool, int, str], ...]:
    """Key by which nodes are sorted: their numbers as numbers, so that every recipe has its nodes in one order."""
    return tuple((part.isdecimal(), int(part) if part.isdecimal() else 0, part) for part in re.split(r"(\d+)", name))


class _Linear(nn.Module):
    """Sum of a linear map of each input, and one bias."""

    def __init__(self, sizes: list[int], output: int) -> None:
        super().__init__()
        self.weights = nn.ParameterList([_uniform(output, size, bound=1 / math.sqrt(output)) for size in sizes])
        self.bias = _uniform(output, bound=1 / math.sqrt(output))


def _uniform(*shape: int, bound: float) -> nn.Parameter:
    return nn.Parameter(torch.empty(shape).uniform_(-bound, bound))


class RecurrentLayer(nn.Module):
    """One layer: the cell of a recipe, run over a sequence from states of zeros.

    Every parameter is uniform between -1 and 1 over the square root of the size of the layer, as in the benchmark.
    """

    def __init__(self, recipe: Recipe, input_size: int, size: int) -> None:
        super().__init__()
        self._recipe, self._size = recipe, size
        self.linear = nn.ModuleDict(
            {
                node.name: _Linear([input_size if source == "x" else size for source in node.inputs], size)
                for node in sorted(self._linear_nodes(), key=lambda node: _by_number(node.name))
            }
        )

    def forward(self, x: Tensor) -> Tensor:
        """From inputs (N, T, size of the input) to outputs (N, T, size of the layer)."""
        # What does not depend on the states is computed for all steps at once, in the order of the sum of the literal cell.
        of_x = {node.name: self._of_x(node, x) for node in self._linear_nodes()}
        states = [x.new_zeros(len(x), self._size) for _ in range(self._recipe.num_hidden)]
        outputs = []
        for t in range(x.shape[1]):
            values = {f"h_prev_{k}": state for k, state in enumerate(states)}
            for node in self._recipe.nodes:
                if node.operation == "linear":
                    values[node.name] = self._linear(node, of_x[node.name], values, t)
                else:
                    values[node.name] = _apply(node, values, x[:, t])
            states = [values[f"h_new_{k}"] for k in range(self._recipe.num_hidden)]
            outputs.append(states[0])
        return torch.stack(outputs, 1)

    def _of(self, node: Node) -> _Linear:
        return cast(_Linear, self.linear[node.name])

    def _linear_nodes(self) -> Iterator[Node]:
        return (node for node in self._recipe.nodes if node.operation == "linear")

    def _of_x(self, node: Node, x: Tensor) -> Tensor | None:
        """The bias and the part of a linear node that comes from x, shape (N, T, size); None if x is no input of it."""
        linear = self._of(node)
        parts = [x @ weight.T for source, weight in zip(node.inputs, linear.weights, strict=True) if source == "x"]
        return sum(parts[1:], parts[0]) + linear.bias if parts else None

    def _linear(self, node: Node, of_x: Tensor | None, values: dict[str, Tensor], t: int) -> Tensor:
        linear = self._of(node)
        total: Tensor = linear.bias if of_x is None else of_x[:, t]
        for source, weight in zip(node.inputs, linear.weights, strict=True):
            if source != "x":
                total = torch.addmm(total, values[source], weight.T)
        return total if total.ndim == 2 else total.expand(len(next(iter(values.values()))), -1)


def _apply(node: Node, values: dict[str, Tensor], x: Tensor) -> Tensor:
    given = [x if source == "x" else values[source] for source in node.inputs]
    match node.operation:
        case "blend":
            z, a, b = given
            return z * a + (1 - z) * b
        case "elementwise_prod":
            return given[0] * given[1]
        case "elementwise_sum":
            return given[0] + given[1]
        case "activation_tanh":
            return torch.tanh(given[0])
        case "activation_sigm":
            return torch.sigmoid(given[0])
        case "activation_leaky_relu":
            return nn.functional.leaky_relu(given[0], _LEAKY_SLOPE)
        case _:
            raise AssertionError(node)


class _Decoder(nn.Module):
    """Logits from the last layer: the weights are those of the embedding, the bias starts at 0."""

    def __init__(self, embedding: nn.Embedding) -> None:
        super().__init__()
        self.weight = embedding.weight
        self.bias = nn.Parameter(torch.zeros(embedding.num_embeddings))

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.linear(x, self.weight, self.bias)


class LanguageModel(nn.Module):
    """Embedding, recurrent layers, and a decoder with the weights of the embedding; without dropout.

    The benchmark trained with dropout of weights, through which its recurrent weights got no gradient (its ``WeightDrop`` makes a
    new parameter at every pass). Here no dropout is applied, and they get theirs.
    """

    def __init__(self, recipe: Recipe, num_tokens: int, embedding: int, hidden: int, num_layers: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(num_tokens, embedding, _weight=torch.empty(num_tokens, embedding))
        nn.init.uniform_(self.embedding.weight, -_EMBEDDING_RANGE, _EMBEDDING_RANGE)
        sizes = [embedding, *[hidden] * (num_layers - 1), embedding]
        self.layers = nn.ModuleList([RecurrentLayer(recipe, size, output) for size, output in pairwise(sizes)])
        self.decoder = _Decoder(self.embedding)

    def forward(self, tokens: Tensor) -> Tensor:
        """From token ids (N, T) to logits (N, T, V) of the token that follows each."""
        x = self.embedding(tokens)
        for layer in self.layers:
            x = layer(x)
        logits: Tensor = self.decoder(x)
        return logits
