"""NAS-Bench-ASR (Mehrotra et al., ICLR 2021): cells of three nodes in a convolutional acoustic model with an LSTM."""

from pathlib import Path
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor, nn

from sweetgrad.profiling.spaces.protocol import Layer, Network, check_index, unite_names
from sweetgrad.profiling.tasks import SPEECH_RECOGNITION
from sweetgrad.store.spaces.speech_cells import (
    NUM_SPEECH_NODES,
    SPEECH_OPERATIONS,
    SpeechNode,
    all_vectors,
    read_vector,
    vector_string,
)

CHANNELS = 600
_SHARES = (6, 8, 10, 12)
"""Channels of the four blocks, in sixths of those of the first."""
_CELLS = (3, 4, 5, 6)
_STRIDES = (1, 1, 2, 2)
_KERNEL = 8
_GROUPS = 100
_CONTEXT = 4
"""Frames of the future that a convolution with stride 1 sees."""
_CLIP = 20.0
_EPS = 0.001
_LSTM = 500

_CONVS: dict[str, tuple[int, int]] = {"conv5": (5, 1), "conv5d2": (5, 2), "conv7": (7, 1), "conv7d2": (7, 2)}
"""Kernel size and dilation."""

Reading = Literal["pytorch", "tensorflow"]


class NasBenchAsr:
    """13,824 cells of three nodes, in ascending order of their vectors.

    The authors' code has the network twice. In their PyTorch files, a skip of 1 is an identity, and ``conv5d2`` and ``conv7d2``
    are dilated. In their TensorFlow files, which made the published accuracies, the dilation is never passed on, so that these
    are ``conv5`` and ``conv7``, and a skip of 1 is absent.

    Parameters
    ----------
    table
        None: the list is built in.
    reading
        ``pytorch``, as the benchmark is described, or ``tensorflow``, as it was trained.
    channels
        Channels of the first block, a multiple of 300; the others have 4/3, 5/3 and 2 times as many.

    Raises
    ------
    ValueError
        If an option is invalid, or a table is given.

    Examples
    --------
    >>> space = NasBenchAsr()
    >>> len(space), space.arch_id(13_823)
    (13824, '[[5,1],[5,1,1],[5,1,1,1]]')
    """

    name = "nas-bench-asr"
    init = "nas-bench-asr"
    task = SPEECH_RECOGNITION.name
    # Not an image: frames of an utterance.
    input_size = 64

    def __init__(
        self, table: Path | str | None = None, *, reading: Reading = "pytorch", channels: int = CHANNELS
    ) -> None:
        if table is not None:
            raise ValueError(f"nas-bench-asr takes no table, since its list is built in; got {table}")
        if reading not in get_args(Reading):
            raise ValueError(f"reading must be one of {', '.join(get_args(Reading))}, got {reading!r}")
        if type(channels) is not int or channels < 1 or channels % 300:
            raise ValueError(
                f"channels must be a multiple of 300, so that all blocks divide into 100 groups, got {channels!r}"
            )
        self.reading, self.channels = reading, channels
        self._archs = all_vectors()
        cells = iter(range(sum(_CELLS)))
        names = ("stem", *(f"reduction{block}" for block in range(len(_CELLS) - 1)))
        self.layer_names = (
            *(
                name
                for block, num in enumerate(_CELLS)
                for name in (names[block], *(f"cell{next(cells)}" for _ in range(num)))
            ),
            "head",
        )
        options = {"reading": reading, "channels": channels}
        self.options = {key: value for key, value in options.items() if value not in ("pytorch", CHANNELS)}
        self.variant = "-".join(
            [*(["tensorflow"] if reading == "tensorflow" else []), *([f"c{channels}"] if channels != CHANNELS else [])]
        )

    def __len__(self) -> int:
        """13,824."""
        return len(self._archs)

    def arch_id(self, index: int) -> str:
        """Vector as a string, e.g. ``[[0,1],[5,1,0],[3,1,1,1]]``.

        Raises
        ------
        IndexError
            If there is no such architecture.
        """
        check_index(index, len(self))
        return self._archs[index]

    def build(self, arch_id: str, *, in_channels: int, num_classes: int) -> Network:
        """Build the acoustic model of a vector.

        Parameters
        ----------
        arch_id
            Vector, as in `read_vector`.
        in_channels
            Bands of the features, 80 in the benchmark.
        num_classes
            Phones and the blank, 49 in the benchmark.

        Raises
        ------
        ValueError
            If it is not a vector of the space.
        """
        module = AcousticModel(read_vector(arch_id), in_channels, num_classes, self.channels, reading=self.reading)
        parts = [(name, module.parts[name]) for name in self.layer_names]
        types = {"stem": "stem", "reduction": "reduction", "cell": "cell", "head": "head"}
        return Network(
            module,
            tuple(
                Layer(name, next(t for start, t in types.items() if name.startswith(start)), (part,))
                for name, part in parts
            ),
        )

    def mutate(self, arch_id: str, random: np.random.RandomState) -> str:
        """Replace the operation or one skip of a random node by another, uniformly."""
        nodes = list(read_vector(arch_id))
        number = random.randint(NUM_SPEECH_NODES)
        operation, skips = nodes[number]
        place = random.randint(len(skips) + 1)
        if place == 0:
            others = [other for other in range(len(SPEECH_OPERATIONS)) if other != operation]
            nodes[number] = (others[random.randint(len(others))], skips)
        else:
            nodes[number] = (operation, tuple(s ^ (i == place - 1) for i, s in enumerate(skips)))
        return vector_string(tuple(nodes))

    def parameter_axes(self) -> dict[str, dict[str, str]]:
        """Names of the parameters of all networks: a node with a convolution and one with a linear map have all of them."""
        with torch.device("meta"):
            return unite_names(
                self.build(f"[[{op},0],[{op},0,0],[{op},0,0,0]]", in_channels=80, num_classes=49) for op in (0, 1)
            )


class _Conv(nn.Module):
    """Zero padding that lets few frames of the future in, a convolution over time, and a ReLU that is clipped at 20."""

    def __init__(
        self, inputs: int, outputs: int, kernel_size: int, *, stride: int = 1, dilation: int = 1, groups: int = 1
    ) -> None:
        super().__init__()
        future, needed = _CONTEXT // stride, kernel_size * dilation - stride
        right = needed if future >= needed else future
        left = 0 if future >= needed else (kernel_size - 1) * dilation - right
        self.pad = (left, right)
        self.conv = nn.Conv1d(inputs, outputs, kernel_size, stride=stride, dilation=dilation, groups=groups)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(nn.functional.pad(x, self.pad)).clamp(0, _CLIP)  # type: ignore[no-any-return]  # a module returns Any


class _Dense(nn.Module):
    """A linear map of the channels of each frame, and a ReLU that is clipped at 20."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.linear = nn.Linear(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x.transpose(1, 2)).clamp(0, _CLIP).transpose(1, 2)  # type: ignore[no-any-return]  # as above


class _Norm(nn.LayerNorm):
    """Layer norm over the channels of each frame."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, eps=_EPS)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.transpose(1, 2)).transpose(1, 2)


class SpeechCell(nn.Module):
    """Three nodes in a row, each the sum of its operation on the node before and of skips; then a layer norm."""

    def __init__(self, nodes: tuple[SpeechNode, ...], channels: int, *, reading: Reading) -> None:
        super().__init__()
        present = 1 if reading == "pytorch" else 0
        self._skips = [tuple(skip == present for skip in skips) for _, skips in nodes]
        self.ops = nn.ModuleDict()
        for number, (operation, _) in enumerate(nodes):
            name = SPEECH_OPERATIONS[operation]
            if name == "linear":
                self.ops[str(number)] = _Dense(channels)
            elif name != "zero":
                kernel_size, dilation = _CONVS[name]
                dilation = dilation if reading == "pytorch" else 1
                self.ops[str(number)] = _Conv(channels, channels, kernel_size, dilation=dilation, groups=_GROUPS)
        self.norm = _Norm(channels)

    def forward(self, x: Tensor) -> Tensor:
        """From inputs (N, C, T) to outputs of that shape."""
        values = [x]
        for number, skips in enumerate(self._skips):
            terms = [self.ops[str(number)](values[-1])] if str(number) in self.ops else []
            terms += [value for value, skip in zip(values, skips, strict=True) if skip]
            values.append(sum(terms[1:], terms[0]) if terms else torch.zeros_like(x))
        normed: Tensor = self.norm(values[-1])
        return normed


class _Head(nn.Module):
    """An LSTM, and a linear map of its outputs to the classes."""

    def __init__(self, inputs: int, num_classes: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(inputs, _LSTM, batch_first=True)
        self.linear = nn.Linear(_LSTM, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.linear(self.lstm(x.transpose(1, 2))[0])
        return logits


class AcousticModel(nn.Module):
    """Four blocks of a convolution with a layer norm and 3 to 6 cells, an LSTM and a linear layer; without dropout.

    Weights are Xavier uniform, biases 0. From features (N, bands, T) to logits (N, T / 4, classes).
    """

    def __init__(
        self, nodes: tuple[SpeechNode, ...], bands: int, num_classes: int, channels: int, *, reading: Reading
    ) -> None:
        super().__init__()
        parts: dict[str, nn.Module] = {}
        inputs, cell = bands, 0
        for block, (share, num, stride) in enumerate(zip(_SHARES, _CELLS, _STRIDES, strict=True)):
            width = channels * share // _SHARES[0]
            start = _Conv(inputs, width, _KERNEL, stride=stride)
            parts["stem" if block == 0 else f"reduction{block - 1}"] = nn.Sequential(start, _Norm(width))
            for _ in range(num):
                parts[f"cell{cell}"] = SpeechCell(nodes, width, reading=reading)
                cell += 1
            inputs = width
        parts["head"] = _Head(inputs, num_classes)
        self.parts = nn.ModuleDict(parts)
        for parameter in self.parameters():
            _initialise(parameter)
        for module in self.modules():
            if isinstance(module, nn.LayerNorm):
                nn.init.ones_(module.weight)

    def forward(self, x: Tensor) -> Tensor:
        """From features (N, bands, T) to logits (N, steps, classes)."""
        for part in self.parts.values():
            x = part(x)
        return x


def _initialise(parameter: Tensor) -> None:
    # A tensor of the meta device has no values, and drawing them would import torch's compiler, which takes a second.
    if parameter.is_meta:
        return
    if parameter.ndim >= 2:
        nn.init.xavier_uniform_(parameter)
    else:
        nn.init.zeros_(parameter)
