"""Losses of tasks against slow literal ones; what is no batch, or no output, of a task is refused with advice."""

import itertools
import math
import re
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from sweetgrad.profiling import Batch, Examples, draw_batch, load_space, make_spec, profile_network
from sweetgrad.profiling.tasks import TASKS, classification_loss, ctc_loss, frames_of, next_token_loss


def test_next_token_loss__is_the_mean_over_all_tokens() -> None:
    torch.manual_seed(0)
    logits, y = torch.randn(2, 3, 5), torch.tensor([[0, 1, 4], [2, 2, 3]])
    literal = [-torch.log_softmax(logits[n, t], 0)[y[n, t]] for n in range(2) for t in range(3)]
    assert float(next_token_loss(logits, y, y)) == pytest.approx(float(sum(literal)) / 6)


def test_ctc_loss__is_the_sum_over_all_alignments() -> None:
    """Of every path of 4 steps that reads as the labels when repeats are joined and blanks left out."""
    torch.manual_seed(0)
    logits = torch.randn(2, 4, 3, dtype=torch.float64)
    x = torch.ones(2, 5, 8)
    x[1, :, 5:] = 0  # the second utterance has 5 frames, so 3 steps
    y = torch.tensor([[1, 1], [2, -1]])
    literal = []
    for n, (steps, labels) in enumerate([(4, [1, 1]), (3, [2])]):
        p = logits[n].softmax(-1)
        total = 0.0
        for path in itertools.product(range(3), repeat=steps):
            read = [label for label, _ in itertools.groupby(path) if label != 0]
            if read == labels:
                total += math.prod(float(p[t, label]) for t, label in enumerate(path))
        literal.append(-math.log(total) / (steps + 1))
    assert float(ctc_loss(logits, x, y)) == pytest.approx(sum(literal) / 2)


def test_frames_of__counts_to_the_last_frame_that_is_not_zero() -> None:
    x = torch.zeros(3, 2, 4)
    x[0, 1, 2] = 1
    x[1, 0, 3] = -1
    assert frames_of(x).tolist() == [3, 4, 0]


def test_ctc_loss__refuses_an_utterance_that_is_too_short() -> None:
    x, y = torch.ones(1, 2, 8), torch.tensor([[1, 1, 2]])
    with pytest.raises(
        ValueError, match="utterance 0 has 8 frames, from which the network makes 2 steps, too few for its 3 labels"
    ):
        ctc_loss(torch.zeros(1, 2, 3), x, y)


TOKENS = np.zeros((2, 3), dtype=np.int64)
SPEECH = np.ones((2, 4, 9), dtype=np.float32)


@pytest.mark.parametrize(
    ("task", "x", "y", "message"),
    [
        (
            "language-modelling",
            TOKENS + np.array([[0], [7]]),
            TOKENS,
            "token ids must be in 0..6, the vocabulary, but 3 are not .*number 0 of seq",
        ),
        ("language-modelling", TOKENS, TOKENS - 1, "but 6 are not"),
        ("language-modelling", TOKENS[:, :0], TOKENS[:, :0], "the text is empty"),
        ("language-modelling", TOKENS.astype(np.float32), TOKENS, "must be int64 of one shape"),
        ("speech-recognition", SPEECH[0], TOKENS, r"features of shape \(N, bands, frames\)"),
        ("speech-recognition", SPEECH, TOKENS[:1], r"labels must be int64 of shape \(2, L\)"),
        ("speech-recognition", SPEECH * np.nan, TOKENS + 1, "2 of 2 utterances contain NaN"),
        ("speech-recognition", SPEECH, np.array([[1, -1, 2], [1, 1, 1]]), r"utterance 0 has \[1, -1, 2\]"),
        ("speech-recognition", SPEECH, np.array([[1, 2, 3], [-1, -1, -1]]), "at least one an utterance"),
        ("speech-recognition", SPEECH, np.array([[1, 2, 3], [7, -1, -1]]), "labels must be in 1..6"),
    ],
)
def test_batch__refuses_what_is_none_of_its_task(task: str, x: Any, y: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Batch(x, y, num_classes=7, task=task)


def test_draw_batch__keeps_the_task_and_augments_images_alone() -> None:
    text = Examples("t", np.arange(12).reshape(4, 3), np.arange(1, 13).reshape(4, 3), 13, task="language-modelling")
    batch = draw_batch(text, batch_size=2, seed=0, second=True)
    assert batch.task == batch.second.task == "language-modelling"  # type: ignore[union-attr]
    np.testing.assert_array_equal(batch.y, batch.x + 1)
    with pytest.raises(ValueError, match="only images are augmented"):
        draw_batch(text, batch_size=2, seed=0, augment=True)


def test_make_spec__records_the_task_and_refuses_another() -> None:
    text = Batch(TOKENS, TOKENS, num_classes=5, dataset="t", task="language-modelling")
    spec = make_spec(load_space("nas-bench-nlp", options={"num_archs": 2}), text)
    assert (spec.task, spec.loss, spec.input_shape, spec.memory_format) == (
        "language-modelling",
        "next-token-cross-entropy",
        (3,),
        "contiguous",
    )
    with pytest.raises(
        ValueError, match="nas-bench-201 is for image classification, but data set t is of language modelling"
    ):
        make_spec(load_space("nas-bench-201"), text)


def test_spec__of_images_is_written_as_before() -> None:
    """A published store says nothing of tasks, and older versions refuse keys that they do not know."""
    images = Batch(np.zeros((1, 3, 8, 8), np.float32), np.zeros(1, np.int64), num_classes=10)
    attrs = make_spec(load_space("nas-bench-201"), images).to_attrs()
    assert "task" not in attrs
    assert (attrs["loss"], attrs["memory_format"]) == ("cross-entropy", "channels_last")


def test_profile_network__takes_any_loss() -> None:
    torch.manual_seed(0)
    model = nn.Linear(4, 2)
    x, y = torch.randn(8, 4), torch.randn(8, 2)
    rows = profile_network(model, x, y, loss=nn.functional.mse_loss)
    loss = nn.functional.mse_loss(model(x), y)
    loss.backward()
    assert float(rows["loss"][0]) == pytest.approx(loss.item())
    assert model.weight.grad is not None
    assert float(rows["grad_abs_sum"][0, 0, 0]) == pytest.approx(float(model.weight.grad.abs().sum()))


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (lambda output, y: output, "loss must return one real number as a tensor, the mean over the batch, got shape"),
        (lambda output, y: 1.0, "got float"),
        (lambda output, y: output.sum() * math.inf, "the loss is"),
        (lambda output, y: torch.tensor(1.0), "depends on no parameter"),
    ],
)
def test_profile_network__says_what_a_loss_must_return(loss: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        profile_network(nn.Linear(4, 2), torch.ones(3, 4), torch.zeros(3, 2), loss=loss)


def test_tasks__refuse_an_output_of_another_task() -> None:
    y: Tensor = torch.zeros(2, 3, dtype=torch.int64)
    with pytest.raises(ValueError, match=r"must return logits \(N, T, V\) for tokens \(2, 3\), got \(2, 5\)"):
        TASKS["language-modelling"].loss(torch.zeros(2, 5), y, y)
    with pytest.raises(ValueError, match=r"must return logits \(N, steps, classes\) for 2 utterances, got tuple"):
        TASKS["speech-recognition"].loss((), torch.ones(2, 1, 3), y)


def test_classification_loss__looks_at_labels_again_once_they_changed() -> None:
    logits, labels = torch.zeros(3, 4), torch.tensor([0, 1, 3])
    classification_loss(logits, torch.zeros(3), labels)
    labels[0] = 4
    with pytest.raises(ValueError, match=re.escape("got 1..4")):
        classification_loss(logits, torch.zeros(3), labels)
