"""TIMIT's layout, made small here; synthetic speech; log-mel features against a plain loop."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from sweetgrad.profiling import load_examples
from sweetgrad.profiling.datasets import speech
from sweetgrad.profiling.datasets.speech import BANDS, PHONES, RATE, log_mel, read_phones, read_sphere


def write_sphere(path: Path, samples: np.ndarray, **fields: str) -> None:
    values = {
        "sample_rate": "-i 16000",
        "channel_count": "-i 1",
        "sample_n_bytes": "-i 2",
        "sample_byte_format": "-s2 01",
    }
    values |= {"sample_count": f"-i {len(samples)}", **fields}
    header = "NIST_1A\n   1024\n" + "".join(f"{key} {value}\n" for key, value in values.items()) + "end_head\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(header.encode().ljust(1024) + samples.astype("<i2").tobytes())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    random = np.random.RandomState(0)
    speaker = tmp_path / "TIMIT" / "TRAIN" / "DR1" / "FCJF0"
    for name, seconds in (("SI1027", 0.5), ("SX37", 0.8), ("SA1", 0.5), ("SX127", 5)):
        write_sphere(speaker / f"{name}.WAV", random.randint(-3000, 3000, int(RATE * seconds)))
        (speaker / f"{name}.PHN").write_text(
            "0 100 h#\n100 200 sh\n200 250 q\n250 300 ix\n300 320 bcl\n320 400 ax-h\n400 500 pau\n"
        )
    return tmp_path


def test_load_timit__takes_training_utterances_but_those_of_dialect_and_long_ones(folder: Path) -> None:
    timit = load_examples("timit", data_dir=folder)
    assert (timit.num_classes, timit.task) == (49, "speech-recognition")
    assert timit.source == "TIMIT: 2 of 3 training utterances"
    expected = [PHONES.index(phone) + 1 for phone in ("sil", "sh", "ix", "vcl", "ax", "sil")]
    assert timit.y.tolist() == [expected, expected]
    frames = [1 + (int(RATE * seconds) - 400) // 160 for seconds in (0.5, 0.8)]
    assert timit.x.shape == (2, BANDS, max(frames))
    assert (timit.x[0, :, frames[0] :] == 0).all()
    present = np.concatenate([timit.x[0, :, : frames[0]], timit.x[1]], axis=1)
    np.testing.assert_allclose(present.mean(1), 0, atol=1e-4)
    np.testing.assert_allclose(present.std(1), 1, atol=1e-3)


def test_phones__are_forty_eight_and_every_phone_of_timit_folds_into_one() -> None:
    assert len(set(PHONES)) == len(PHONES) == 48
    assert set(speech._FOLDED.values()) <= set(PHONES)
    assert not set(speech._FOLDED) & set(PHONES)
    assert len(speech._FOLDED) + 48 - 3 + 1 + 0 == 61  # cl, vcl and sil stand for others; q is left out


def test_log_mel__is_that_of_a_plain_loop() -> None:
    samples = np.random.RandomState(0).standard_normal(1000)
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 400)
    bands = speech._mel_bands()
    literal = [
        np.log(bands @ np.abs(np.fft.rfft(window * samples[start : start + 400])) ** 2 + 1e-10)
        for start in range(0, len(samples) - 399, 160)
    ]
    np.testing.assert_allclose(log_mel(samples), np.stack(literal, 1), rtol=1e-4)


def test_log_mel__of_a_tone_is_loudest_in_its_band() -> None:
    tone = np.sin(2 * np.pi * 1000 * np.arange(RATE) / RATE)
    loudest = log_mel(tone).mean(1).argmax()
    mel = 2595 * np.log10(1 + 1000 / 700) / (2595 * np.log10(1 + 8000 / 700)) * (BANDS + 1) - 1
    assert abs(loudest - mel) <= 1


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"sample_rate": "-i 8000"},
            "expected a NIST SPHERE file of one channel, 16 bits, 16000 Hz; got .*sample_rate 8000",
        ),
        ({"channel_count": "-i 2"}, "channel_count 2"),
        ({"sample_count": "-i 999999"}, "declares 999,999 samples, but has 100: it is truncated"),
        ({"sample_count": "-i -5"}, "declares 0 samples"),
    ],
)
def test_read_sphere__refuses_other_files(fields: dict[str, str], message: str, tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    write_sphere(path, np.zeros(100), **fields)
    with pytest.raises(ValueError, match=message):
        read_sphere(path)


def test_read_sphere__refuses_what_is_no_sound(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(b"hello")
    with pytest.raises(ValueError, match="expected a NIST SPHERE file"):
        read_sphere(path)


def test_read_phones__names_line_and_phone(tmp_path: Path) -> None:
    path = tmp_path / "a.phn"
    with pytest.raises(ValueError, match=r"a\.phn is missing"):
        read_phones(path)
    path.write_text("0 100 h#\n100 200 zz\n")
    with pytest.raises(
        ValueError, match=r"line 2: expected 'first last phone' with a phone of TIMIT, got '100 200 zz'"
    ):
        read_phones(path)


def test_load_timit__says_where_it_looked(tmp_path: Path) -> None:
    with pytest.raises(
        FileNotFoundError, match=r"expected TRAIN/DR1/.*found no TRAIN in .*data set speech needs no files"
    ):
        load_examples("timit", data_dir=tmp_path)
    (tmp_path / "TRAIN").mkdir()
    with pytest.raises(ValueError, match="has no utterance"):
        load_examples("timit", data_dir=tmp_path)


def test_load_speech__without_espeak_is_tones_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sweetgrad.profiling.datasets.speech.shutil.which", lambda name: None)
    monkeypatch.setattr(speech, "_NUM_TONES", 12)
    tones, again, other = (load_examples("speech", seed=seed) for seed in (0, 0, 1))
    assert (tones.name, tones.num_classes, len(tones.x)) == ("tones", 49, 12)
    assert "espeak-ng is not installed" in tones.source
    np.testing.assert_array_equal(tones.x, again.x)
    assert tones.x.shape != other.x.shape or not np.array_equal(tones.x, other.x)


@pytest.mark.skipif(shutil.which("espeak-ng") is None, reason="espeak-ng is not installed")
def test_load_speech__speaks_with_espeak(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speech, "_VOICES", ("en-us", "en-gb"))
    monkeypatch.setattr(speech, "_SENTENCES", ("a good morrow to you my boy", "how far"))
    spoken = load_examples("speech")
    assert spoken.name == "speech"
    assert len(spoken.x) == 8
    assert "1." in spoken.source
    assert 10 < spoken.num_classes < 100
    assert (spoken.y[0] > 0).sum() > (spoken.y[2] > 0).sum() > 2
