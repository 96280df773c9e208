"""Speech as log-mel features with phone labels: TIMIT in its official layout, and synthetic speech for machines without it."""

import itertools
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.io import wavfile
from scipy.signal import ShortTimeFFT, resample_poly
from scipy.signal.windows import hann

from sweetgrad.profiling.batches import Examples
from sweetgrad.profiling.tasks import PADDING, SPEECH_RECOGNITION

RATE = 16_000
"""Samples a second."""
BANDS = 80
_WINDOW, _STEP = RATE * 25 // 1000, RATE * 10 // 1000
_FLOOR = 1e-10

_FOLDED = {
    **dict.fromkeys(("bcl", "dcl", "gcl"), "vcl"),
    **dict.fromkeys(("pcl", "tcl", "kcl"), "cl"),
    **dict.fromkeys(("h#", "pau"), "sil"),
    **{"ax-h": "ax", "axr": "er", "em": "m", "eng": "ng", "hv": "hh", "nx": "n", "ux": "uw"},
}
"""The 61 phones of TIMIT as 48 (Lee & Hon 1989), those that change; ``q`` is left out."""

PHONES = (
    *(
        "aa",
        "ae",
        "ah",
        "ao",
        "aw",
        "ax",
        "ay",
        "b",
        "ch",
        "cl",
        "d",
        "dh",
        "dx",
        "eh",
        "el",
        "en",
        "epi",
        "er",
        "ey",
        "f",
    ),
    *("g", "hh", "ih", "ix", "iy", "jh", "k", "l", "m", "n", "ng", "ow", "oy", "p", "r", "s", "sh", "sil", "t", "th"),
    *("uh", "uw", "v", "vcl", "w", "y", "z", "zh"),
)
"""The 48 phones; label 0 is the blank, phone *i* is label *i* + 1."""

_SECONDS = 4.0
"""Longer utterances are left out, so that a batch is not mostly padding."""

_SENTENCES = (
    "she had your suit",
    "a good morrow to you",
    "how far is it",
    "ask me to carry it",
    "they flag motorists",
    "the music was strange",
    "measure the joy",
    "a vision in blue",
)
"""Short, so that a batch of 64 is not too much for a laptop."""


def load_timit(data_dir: Path | None = None, *, seed: int = 42, download: bool = False) -> Examples:
    """Load the training utterances of TIMIT without the dialect sentences (SA), up to four seconds long.

    Parameters
    ----------
    data_dir
        Folder with ``TRAIN/DR1/FCJF0/SI1027.WAV`` and ``.PHN`` beside it, and so on, in upper or lower case, or its parent folder
        or ``TIMIT`` in it.
    seed, download
        Ignored; TIMIT is sold by the Linguistic Data Consortium (LDC93S1).

    Returns
    -------
    Log-mel features (N, 80, frames), normalised by the mean and standard deviation of every band, 0 after the end; labels of the
    48 phones.

    Raises
    ------
    FileNotFoundError
        If there is no such folder.
    ValueError
        If a file is damaged, or a phone is unknown; the message names the file.
    """
    del seed, download
    folder = _timit_folder(data_dir)
    waves = [path for path in sorted(folder.rglob("*")) if re.fullmatch(r"s[ix]\d+\.wav", path.name.lower())]
    utterances = []
    for path in waves:
        phones = path.with_name(path.stem + (".PHN" if path.suffix.isupper() else ".phn"))
        samples = read_sphere(path)
        if len(samples) <= _SECONDS * RATE:
            utterances.append((samples / 2**15, read_phones(phones)))
    if not utterances:
        raise ValueError(f"{folder} has no utterance SI….WAV or SX….WAV of at most {_SECONDS:g} seconds with its .PHN")
    return _examples("timit", utterances, source=f"TIMIT: {len(utterances):,} of {len(waves):,} training utterances")


def load_speech(data_dir: Path | None = None, *, seed: int = 42, download: bool = False) -> Examples:
    """Make synthetic speech with phone labels: by espeak-ng where it is installed (data set ``speech``), else tones (``tones``).

    Parameters
    ----------
    data_dir, download
        Ignored: nothing is read.
    seed
        Seed of the tones.

    Returns
    -------
    As `load_timit`. With espeak-ng, eight sentences in eight voices at two speeds, and as labels the phonemes that it speaks.
    Tones are no speech: each of 48 "phones" is a pair of frequencies of its own.
    """
    del data_dir, download
    program = shutil.which("espeak-ng")
    if program is None:
        return _examples(
            "tones", list(_tones(seed)), source=f"generated tones, seed {seed}; espeak-ng is not installed"
        )
    version = (
        subprocess.run([program, "--version"], capture_output=True, text=True, check=True)
        .stdout.split("Data")[0]
        .strip()
    )
    spoken = list(_spoken(program))
    numbers = {
        phoneme: number for number, phoneme in enumerate(sorted({p for _, said in spoken for p in said}), start=1)
    }
    utterances = [(samples, [numbers[phoneme] for phoneme in said]) for samples, said in spoken]
    return _examples("speech", utterances, source=version, num_classes=len(numbers) + 1)


def log_mel(samples: NDArray[np.floating]) -> NDArray[np.float32]:
    """Logarithm of the energy in 80 mel bands, in windows of 25 ms (Hann) every 10 ms; shape (80, frames).

    Parameters
    ----------
    samples
        Sound at 16 kHz, shape (samples,), at least one window long.
    """
    transform = ShortTimeFFT(hann(_WINDOW, sym=False), hop=_STEP, fs=RATE, fft_mode="onesided", scale_to=None)
    num_frames = 1 + (len(samples) - _WINDOW) // _STEP
    power = np.abs(transform.stft(samples.astype(np.float64), p0=0, p1=num_frames, k_offset=_WINDOW // 2)) ** 2
    mel: NDArray[np.float32] = np.log(_mel_bands() @ power + _FLOOR).astype(np.float32)
    return mel


def _mel_bands() -> NDArray[np.float64]:
    """Triangles that are equally wide on the mel scale (O'Shaughnessy 1987), shape (80, frequencies)."""
    top = 2595 * np.log10(1 + RATE / 2 / 700)
    edges = 700 * (10 ** (np.linspace(0, top, BANDS + 2) / 2595) - 1)
    frequency = np.fft.rfftfreq(_WINDOW, 1 / RATE)
    low, middle, high = (edges[i : i + BANDS, None] for i in range(3))
    bands: NDArray[np.float64] = np.clip(
        np.minimum((frequency - low) / (middle - low), (high - frequency) / (high - middle)), 0, None
    )
    return bands


def read_sphere(path: Path) -> NDArray[np.int16]:
    """Samples of a NIST SPHERE file as TIMIT has them: 16 bits, 16 kHz, one channel; or of a RIFF file of that kind.

    Raises
    ------
    ValueError
        If the file is something else, or is truncated.
    """
    content = path.read_bytes()
    if content.startswith(b"RIFF"):
        rate, samples = wavfile.read(path)
        if rate != RATE or samples.dtype != np.int16 or samples.ndim != 1:
            raise ValueError(
                f"{path}: expected one channel of 16 bits at {RATE} Hz, got {samples.dtype} {samples.shape} at {rate}"
            )
        return np.asarray(samples, np.int16)
    header = content[:1024].decode("latin-1")
    size = re.match(r"NIST_1A\n\s*(\d{1,6})\n", header)
    fields = dict(re.findall(r"^(\w+) -\w+ (\S+)$", header, flags=re.MULTILINE))
    expected = {"sample_rate": str(RATE), "channel_count": "1", "sample_n_bytes": "2"}
    wrong = [f"{key} {fields.get(key)}" for key, value in expected.items() if fields.get(key) != value]
    if size is None or wrong:
        raise ValueError(
            f"{path}: expected a NIST SPHERE file of one channel, 16 bits, {RATE} Hz; got {wrong or content[:8]!r}"
        )
    order = ">i2" if fields.get("sample_byte_format") == "10" else "<i2"
    data = content[int(size[1]) :]
    count = int(fields.get("sample_count", "0")) if fields.get("sample_count", "0").isdecimal() else 0
    if not count or len(data) < 2 * count:
        raise ValueError(f"{path}: declares {count:,} samples, but has {len(data) // 2:,}: it is truncated")
    samples_: NDArray[np.int16] = np.frombuffer(data[: 2 * count], order).astype(np.int16)
    return samples_


def read_phones(path: Path) -> list[int]:
    """Labels of the phones of an utterance, in order: lines of first sample, last sample and phone.

    Raises
    ------
    ValueError
        If the file is missing, or a phone is unknown.
    """
    if not path.is_file():
        raise ValueError(f"{path} is missing: every utterance needs its phones")
    labels = []
    for number, line in enumerate(path.read_text(encoding="latin-1").splitlines(), start=1):
        phone = line.split()[-1] if len(line.split()) == 3 else ""
        folded = _FOLDED.get(phone, phone)
        if phone != "q" and folded not in PHONES:
            raise ValueError(
                f"{path}, line {number}: expected 'first last phone' with a phone of TIMIT, got {line[:80]!r}"
            )
        if phone != "q":
            labels.append(PHONES.index(folded) + 1)
    return labels


def _timit_folder(data_dir: Path | None) -> Path:
    names = ("TRAIN", "train")
    places = (
        []
        if data_dir is None
        else [p / name for p in (data_dir, data_dir / "TIMIT", data_dir / "timit") for name in names]
    )
    folder = next((place for place in places if place.is_dir()), None)
    if folder is None:
        searched = (
            "no --data-dir was given" if data_dir is None else f"found no TRAIN in {data_dir} or {data_dir / 'TIMIT'}"
        )
        raise FileNotFoundError(
            f"data set timit: expected TRAIN/DR1/FCJF0/SI1027.WAV and .PHN, and so on; {searched}. It is sold by the "
            "Linguistic Data Consortium (LDC93S1); data set speech needs no files"
        )
    return folder


def _examples(
    name: str,
    utterances: Sequence[tuple[NDArray[np.float64], list[int]]],
    *,
    source: str,
    num_classes: int = len(PHONES) + 1,
) -> Examples:
    """Features of all utterances, normalised and padded, and their labels."""
    features = [log_mel(samples) for samples, _ in utterances]
    every = np.concatenate(features, axis=1)
    mean, std = every.mean(axis=1, keepdims=True), every.std(axis=1, keepdims=True)
    x = np.zeros((len(features), BANDS, max(each.shape[1] for each in features)), dtype=np.float32)
    y = np.full((len(features), max(len(labels) for _, labels in utterances)), PADDING, dtype=np.int64)
    for row, (each, (_, labels)) in enumerate(zip(features, utterances, strict=True)):
        x[row, :, : each.shape[1]] = (each - mean) / np.maximum(std, _FLOOR)
        y[row, : len(labels)] = labels
    return Examples(name, x, y, num_classes, source=source, task=SPEECH_RECOGNITION.name)


_NUM_TONES = 128


def _tones(seed: int) -> Iterator[tuple[NDArray[np.float64], list[int]]]:
    """Utterances of 4 to 8 phones that sound 60 to 140 ms each: two sines, fading in and out, with a little noise."""
    random = np.random.RandomState(seed)
    pitch = np.geomspace(150, 6000, len(PHONES) + 5)
    for _ in range(_NUM_TONES):
        phones = random.permutation(len(PHONES))[: random.randint(4, 9)].tolist()
        parts = []
        for phone in phones:
            time = np.arange(int(RATE * random.uniform(0.06, 0.14))) / RATE
            sound = np.sin(2 * np.pi * pitch[phone] * time) + 0.5 * np.sin(2 * np.pi * pitch[phone + 5] * time)
            parts.append(sound * np.hanning(len(time)))
        samples = np.concatenate(parts)
        yield samples + 0.01 * random.standard_normal(len(samples)), [phone + 1 for phone in phones]


_VOICES = ("en-us", "en-gb", "en-us+f2", "en-gb+f3", "en-us+m3", "en-gb+m5", "en-us+f4", "en-gb+m7")
_SPEEDS = ("150", "190")


def _spoken(program: str) -> Iterator[tuple[NDArray[np.float64], list[str]]]:
    """What espeak-ng says, at 16 kHz, and its phonemes."""
    with tempfile.TemporaryDirectory() as folder:
        for voice, sentence in itertools.product(_VOICES, _SENTENCES):
            said = subprocess.run(
                [program, "-q", "-v", voice, "-x", "--sep=_", sentence],
                capture_output=True,
                encoding="utf-8",
                check=True,
            ).stdout
            phonemes = [part.strip("',%=:|*") for part in re.split(r"[_\s]+", said)]
            for speed in _SPEEDS:
                path = Path(folder) / "said.wav"
                subprocess.run([program, "-v", voice, "-s", speed, "-w", str(path), sentence], check=True)
                rate, samples = wavfile.read(path)
                yield resample_poly(samples / 2**15, RATE, rate), [phoneme for phoneme in phonemes if phoneme]
