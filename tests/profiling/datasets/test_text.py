"""Texts in their official layouts, made small here; and the one that comes with Python."""

import gzip
from pathlib import Path

import numpy as np
import pytest

from sweetgrad.profiling import load_batch, load_examples
from sweetgrad.profiling.datasets.text import END, SEQUENCE_LENGTH

LINES = [f" the cat number{i % 7} sat on <unk> mats" for i in range(40)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for part in ("train", "valid"):
        (tmp_path / f"ptb.{part}.txt").write_text("\n".join(LINES[: 20 if part == "valid" else 40]) + "\n")
    with gzip.open(tmp_path / "ptb.test.txt.gz", "wt") as file:
        file.write("a dog\n" + "\n".join(LINES) + "\n")
    (tmp_path / "wikitext-2").mkdir()
    (tmp_path / "wikitext-2" / "wiki.valid.tokens").write_text(" \n = Title = \n \n" + "\n".join(LINES) + "\n")
    return tmp_path


def test_load_ptb__numbers_words_in_the_order_of_the_parts(folder: Path) -> None:
    text = load_examples("ptb", data_dir=folder)
    words = [word for line in ["a dog", *LINES] for word in [*line.split(), END]]
    order = list(dict.fromkeys([word for line in LINES for word in [*line.split(), END]] + ["a", "dog"]))
    ids = np.array([order.index(word) for word in words])
    assert (text.num_classes, text.task) == (10_000, "language-modelling")
    assert text.x.shape == text.y.shape == ((len(words) - 1) // SEQUENCE_LENGTH, SEQUENCE_LENGTH)
    np.testing.assert_array_equal(text.x.ravel(), ids[: text.x.size])
    np.testing.assert_array_equal(text.y.ravel(), ids[1 : text.x.size + 1])
    assert text.source == f"ptb.test.txt.gz: {len(words):,} tokens"


def test_load_wikitext2__reads_the_part_that_there_is(folder: Path) -> None:
    text = load_examples("wikitext2", data_dir=folder)
    assert text.num_classes == 33_278
    assert text.source.startswith("wiki.valid.tokens")
    assert text.x[0, :5].tolist() == [0, 1, 2, 1, 0]  # an empty line is one end, then = Title =


def test_load_text__is_real_words_without_any_file() -> None:
    batch = load_batch("text", batch_size=4)
    assert batch.x.shape == (4, SEQUENCE_LENGTH)
    assert 1_000 < batch.num_classes < 20_000
    assert "help topics of Python" in batch.source


def test_load_ptb__says_where_it_looked(tmp_path: Path) -> None:
    with pytest.raises(
        FileNotFoundError, match=r"expected ptb\.train\.txt, .*found none in .*data set text needs no files"
    ):
        load_examples("ptb", data_dir=tmp_path)
    with pytest.raises(FileNotFoundError, match="no --data-dir was given"):
        load_examples("wikitext2")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\xff\xfe\xfa", "cannot be read as text in UTF-8"),
        (b"a b c\n", "has 4 tokens, expected at least 71"),
        (b"", "has 0 tokens"),
        (" ".join(f"w{i}" for i in range(10_001)).encode(), "10,002 different words, but ptb has 10,000"),
    ],
)
def test_load_ptb__refuses_files_that_are_something_else(content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "ptb.test.txt").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        load_examples("ptb", data_dir=tmp_path)


@pytest.mark.shared_data
def test_load_ptb__of_the_real_text(shared_data: Path) -> None:
    text = load_examples("ptb", data_dir=shared_data)
    # 78,669 words and 3,761 ends of lines in the official test part.
    assert text.source == "ptb.test.txt.gz: 82,430 tokens"
    assert text.x.max() < 10_000
