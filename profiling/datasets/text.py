"""Text as sequences of token ids: Penn Treebank and WikiText-2 in their official layouts, and a text that comes with Python."""

import platform
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sweetgrad.profiling.batches import Examples
from sweetgrad.profiling.tasks import LANGUAGE_MODELLING
from sweetgrad.store.benchmarks.opening import DAMAGED, open_table

SEQUENCE_LENGTH = 70
"""Tokens of a sequence, as language models of these texts are trained on."""
END = "<eos>"
"""Token at the end of every line."""

_MAX_TOKENS = 500_000_000


@dataclass(frozen=True)
class _Corpus:
    """A text in three parts, one sentence or paragraph a line, words separated by blanks.

    ``files`` are the names of a part in the layouts that are searched, ``{}`` standing for ``train``, ``valid`` or ``test``.
    """

    name: str
    num_tokens: int
    folders: tuple[str, ...]
    files: tuple[str, ...]
    where: str

    def find(self, data_dir: Path | None) -> dict[str, Path]:
        """The files of the parts that exist, by part."""
        if data_dir is None:
            return {}
        found = {}
        for part in ("train", "valid", "test"):
            names = [f"{file.format(part)}{suffix}" for file in self.files for suffix in ("", ".gz")]
            places = (data_dir / folder / name for folder in self.folders for name in names)
            path = next((place for place in places if place.is_file()), None)
            if path is not None:
                found[part] = path
        return found


_PTB = _Corpus(
    name="ptb",
    num_tokens=10_000,
    folders=("", "ptb", "penn", "simple-examples/data", "text"),
    files=("ptb.{}.txt", "{}.txt"),
    where="T. Mikolov's preprocessed Penn Treebank (simple-examples.tgz)",
)
_WIKITEXT2 = _Corpus(
    name="wikitext2",
    num_tokens=33_278,
    folders=("", "wikitext-2", "wikitext2", "text"),
    files=("wiki.{}.tokens", "wikitext2.{}.txt"),
    where="the WikiText-2 word level data set of S. Merity (wikitext-2-v1.zip)",
)


def load_ptb(data_dir: Path | None = None, *, seed: int = 42, download: bool = False) -> Examples:
    """Load Penn Treebank in the form that language models use: 10,000 words, one sentence a line.

    Parameters
    ----------
    data_dir
        Folder with ``ptb.train.txt``, ``ptb.valid.txt`` and ``ptb.test.txt`` (also .gz), or its parent folder. The sequences are
        those of the test text, or of the valid or train text where there is none: at initialisation no text was seen yet.
    seed, download
        Ignored.

    Returns
    -------
    Sequences of 70 token ids and of the tokens that follow them. Words are numbered as they first occur in the parts that
    exist, in the order train, valid, test.

    Raises
    ------
    FileNotFoundError
        If there is none of the files; the message says where they were searched.
    ValueError
        If a file is damaged, too short, or has more different words than the data set.
    """
    del seed, download
    return _load(_PTB, data_dir)


def load_wikitext2(data_dir: Path | None = None, *, seed: int = 42, download: bool = False) -> Examples:
    """Load WikiText-2: 33,278 words, one paragraph a line.

    Parameters, returns and errors are as in `load_ptb`; the files are ``wiki.train.tokens``, ``wiki.valid.tokens`` and
    ``wiki.test.tokens``.
    """
    del seed, download
    return _load(_WIKITEXT2, data_dir)


def load_text(data_dir: Path | None = None, *, seed: int = 42, download: bool = False) -> Examples:
    """Load the help topics that come with Python: real English, some 120,000 words and marks, for machines without a corpus.

    Parameters
    ----------
    data_dir, seed, download
        Ignored: the text is part of the standard library.

    Returns
    -------
    Sequences of 70 token ids and of the tokens that follow them. Words are in lower case, and numbered as they first occur. The
    text, and so the batch, may change with the version of Python, which ``source`` names.
    """
    del data_dir, seed, download
    from pydoc_data.topics import topics

    lines = [line for topic in sorted(topics) for line in topics[topic].splitlines() if line.strip()]
    words = [word for line in lines for word in [*re.findall(r"[a-z]+|[^\sa-z]", line.lower()), END]]
    ids, num_tokens = _number([words])
    source = f"help topics of Python {platform.python_version()}: {len(words):,} tokens"
    return sequences("text", ids[0], num_tokens=num_tokens, source=source)


def sequences(name: str, ids: NDArray[np.int64], *, num_tokens: int, source: str = "") -> Examples:
    """Cut a text into sequences that follow one another, each with the tokens that come one later.

    Parameters
    ----------
    name, source
        As in `Examples`.
    ids
        Token ids of the text, shape (number of tokens,).
    num_tokens
        Size of the vocabulary.

    Raises
    ------
    ValueError
        If the text is shorter than one sequence.

    Examples
    --------
    >>> text = sequences("count", np.arange(141), num_tokens=141)
    >>> text.x.shape, text.y[1, :3]
    ((2, 70), array([71, 72, 73]))
    """
    num = (len(ids) - 1) // SEQUENCE_LENGTH
    if num < 1:
        raise ValueError(
            f"the text {name} has {len(ids)} tokens, expected at least {SEQUENCE_LENGTH + 1}, which make one sequence"
        )
    x = ids[: num * SEQUENCE_LENGTH].reshape(num, SEQUENCE_LENGTH)
    y = ids[1 : num * SEQUENCE_LENGTH + 1].reshape(num, SEQUENCE_LENGTH)
    return Examples(name, x, y, num_tokens, source=source, task=LANGUAGE_MODELLING.name)


def _load(corpus: _Corpus, data_dir: Path | None) -> Examples:
    found = corpus.find(data_dir)
    if not found:
        searched = "no --data-dir was given" if data_dir is None else f"found none in {data_dir} and its folders"
        raise FileNotFoundError(
            f"data set {corpus.name}: expected {', '.join(corpus.files[0].format(part) for part in ('train', 'valid', 'test'))} "
            f"(also .gz); {searched} {', '.join(folder for folder in corpus.folders if folder)}. They are in {corpus.where}; "
            "data set text needs no files"
        )
    parts = {part: _read(path) for part, path in found.items()}
    ids, num_found = _number(parts.values())
    if num_found > corpus.num_tokens:
        raise ValueError(
            f"{', '.join(map(str, found.values()))} have {num_found:,} different words, but {corpus.name} has "
            f"{corpus.num_tokens:,}: these are other files"
        )
    used = next(part for part in ("test", "valid", "train") if part in parts)
    source = f"{found[used].name}: {len(parts[used]):,} tokens"
    return sequences(corpus.name, ids[list(parts).index(used)], num_tokens=corpus.num_tokens, source=source)


def _read(path: Path) -> list[str]:
    try:
        with open_table(path) as file:
            text = file.read().decode("utf-8")
    except (OSError, ValueError, *DAMAGED) as error:
        raise ValueError(f"{path} cannot be read as text in UTF-8 ({error})") from error
    words = [word for line in text.splitlines() for word in [*line.split(), END]]
    if len(words) > _MAX_TOKENS:
        raise ValueError(f"{path} has {len(words):,} tokens, at most {_MAX_TOKENS:,} are read")
    return words


def _number(texts: Iterable[list[str]]) -> tuple[list[NDArray[np.int64]], int]:
    """Number the words of several texts by their first occurrence; returns the ids, and how many words there are."""
    numbers: dict[str, int] = {}
    ids = [np.array([numbers.setdefault(word, len(numbers)) for word in text], dtype=np.int64) for text in texts]
    return ids, len(numbers)
