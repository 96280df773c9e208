"""The NAS-Bench-201 network without the work that cannot matter: bit-identical gradients, in a fraction of the time.

Three facts about a network at initialisation (BatchNorm bias 0) carry it:

* A node that only ``none`` edges reach is exactly 0. A convolution fed by zeros puts out zeros and its weights get gradient 0,
  and so does everything before it (the derivative of ReLU at 0 is 0). But the bias of its BatchNorm does get a gradient, so the
  BatchNorm alone still runs, on zeros.
* What feeds a node that cannot reach the output gets gradient exactly 0, so it need not be computed.
* A cell whose output is 0 makes the features 0; only the classifier's bias gets a gradient.

The order of the remaining additions is that of the literal cell, since floating-point sums depend on it. That holds for the sums
of gradients as well, so each node of a cell is a node of its own in the graph (`_sum_present`).
"""

from functools import reduce
from operator import add

import torch
from torch import Tensor, nn

from sweetgrad.profiling.spaces.nas_bench_201_network import CHANNELS, EDGES, NUM_NODES, Cell, NasBench201Network


class LiveCell(Cell):
    """A `Cell` that computes only the edges that matter.

    With ``run_every_relu`` it also calls the ReLUs of convolutions that it skips, on what the literal cell gives them, for an
    estimator that looks at ReLUs (`naswot`); they take no part in the output.
    """

    run_every_relu = False

    def __init__(self, operations: tuple[str, ...], channels: int) -> None:
        super().__init__(operations, channels)
        self.useful = _nodes_that_reach_output(operations)
        self.nonzero = _nodes_that_are_not_zero(operations)

    def forward(self, x: Tensor) -> Tensor:
        """As `Cell.forward`; a node that is exactly 0 and holds no parameter is None."""
        nodes: list[Tensor | None] = [x]
        for node in range(1, NUM_NODES):
            terms = [self._edge(edge, nodes, like=x) for edge, (_, target) in enumerate(EDGES) if target == node]
            nodes.append(_sum_present(terms))
        if self.run_every_relu:
            self._run_skipped_relus(nodes)
        output = nodes[-1]
        assert output is not None  # otherwise the network is a DisconnectedNetwork
        return output

    def _edge(self, edge: int, nodes: list[Tensor | None], *, like: Tensor) -> Tensor | None:
        source, target = EDGES[edge]
        operation, value = self.operations[edge], nodes[source]
        if operation == "none" or target not in self.useful:
            return None
        module = self.edges[edge]
        if isinstance(module, nn.Sequential) and source not in self.nonzero:
            return module[-1](torch.zeros_like(like))  # type: ignore[no-any-return]  # BatchNorm alone, for its bias
        return None if value is None else module(value)

    def _run_skipped_relus(self, nodes: list[Tensor | None]) -> None:
        x = nodes[0]
        assert x is not None
        literal = {node: value for node, value in enumerate(nodes) if value is not None}
        with torch.no_grad():
            for edge, (source, target) in enumerate(EDGES):  # in the order of their sources
                module = self.edges[edge]
                if isinstance(module, nn.Sequential) and not (target in self.useful and source in self.nonzero):
                    module[0](self._literal_value(source, literal, x))

    def _literal_value(self, node: int, known: dict[int, Tensor], x: Tensor) -> Tensor:
        """Value of a node in the literal cell; a node that the output does not need is computed now."""
        if node not in known:
            incoming = [(edge, source) for edge, (source, target) in enumerate(EDGES) if target == node]
            known[node] = (
                reduce(add, (self.edges[edge](self._literal_value(source, known, x)) for edge, source in incoming))
                if node in self.nonzero
                else torch.zeros_like(x)
            )
        return known[node]


class ReachingCell(Cell):
    """A `Cell` without the edges that cannot reach the output, for training.

    `LiveCell` counts on BatchNorm biases that are 0, which one step of training ends. Here only what has no influence at any
    weights is left out: ``none``, and edges into nodes from which only ``none`` leads on. Their weights get no gradient.
    """

    def __init__(self, operations: tuple[str, ...], channels: int) -> None:
        super().__init__(operations, channels)
        self.useful = _nodes_that_reach_output(operations)

    def forward(self, x: Tensor) -> Tensor:
        """As `Cell.forward`; a node that is exactly 0 at any weights is None."""
        nodes: list[Tensor | None] = [x]
        for node in range(1, NUM_NODES):
            terms = [self._edge(edge, nodes, like=x) for edge, (_, target) in enumerate(EDGES) if target == node]
            nodes.append(_sum_present(terms))
        output = nodes[-1]
        return torch.zeros_like(x) if output is None else output

    def _edge(self, edge: int, nodes: list[Tensor | None], *, like: Tensor) -> Tensor | None:
        source, target = EDGES[edge]
        if self.operations[edge] == "none" or target not in self.useful:
            return None
        module, value = self.edges[edge], nodes[source]
        if value is not None:
            return module(value)  # type: ignore[no-any-return]
        # Zeros go through a convolution as zeros, but leave its BatchNorm as its bias.
        return module(torch.zeros_like(like)) if isinstance(module, nn.Sequential) else None


def _sum_present(terms: list[Tensor | None]) -> Tensor | None:
    """Sum of the terms that are there, with the graph that the literal cell's sum has; None if there is none."""
    present = [term for term in terms if term is not None]
    if not present:
        return None
    if len(present) == 1:
        # A skip returns its input itself. The literal cell adds it to 0, which makes a node of its own in the graph, where the
        # gradients of the node's users are added up first; the view is such a node, without the addition.
        return present[0].view_as(present[0])
    return reduce(add, present)


class DisconnectedNetwork(NasBench201Network):
    """A network whose cells put out exactly 0: the classifier sees zeros, and only its bias gets a gradient."""

    def forward(self, x: Tensor) -> Tensor:
        """Logits of zero features."""
        return self.classifier(x.new_zeros(len(x), CHANNELS[-1]))  # type: ignore[no-any-return]


def build_live_network(operations: tuple[str, ...], *, in_channels: int, num_classes: int) -> NasBench201Network:
    """Build a network with the parameters of the literal one, which leaves out what cannot matter."""
    connected = NUM_NODES - 1 in _nodes_that_are_not_zero(operations)
    network = NasBench201Network if connected else DisconnectedNetwork
    return network(operations, in_channels=in_channels, num_classes=num_classes, cell=LiveCell if connected else Cell)


def _nodes_that_reach_output(operations: tuple[str, ...]) -> frozenset[int]:
    useful = {NUM_NODES - 1}
    for (source, target), operation in reversed(list(zip(EDGES, operations, strict=True))):
        if operation != "none" and target in useful:
            useful.add(source)
    return frozenset(useful)


def _nodes_that_are_not_zero(operations: tuple[str, ...]) -> frozenset[int]:
    nonzero = {0}
    for (source, target), operation in zip(EDGES, operations, strict=True):
        if operation != "none" and source in nonzero:
            nonzero.add(target)
    return frozenset(nonzero)
