import os
import pickle
import sys
from pathlib import Path

import numpy as np
import pytest

from sweetgrad.profiling.batches import draw_batch
from sweetgrad.profiling.datasets._files import normalise
from sweetgrad.profiling.datasets.built_in import MEAN, STD
from sweetgrad.profiling.datasets.cifar import load_cifar10
from sweetgrad.profiling.registry import load_batch, load_examples, names

CHECKOUT = next(folder for folder in Path(__file__).resolve().parents if (folder / "pyproject.toml").is_file())
SHARED = CHECKOUT.parent / "shared" / "data"


def _shared(name: str) -> Path:
    if not (SHARED / name).exists():
        pytest.skip(f"{SHARED / name} is not there")
    return SHARED


def _pixels(num, size=32, seed=0):
    return np.random.RandomState(seed).randint(0, 256, (num, 3, size, size), dtype=np.uint8)


def _write_binary(path: Path, pixels, *labels):
    path.parent.mkdir(exist_ok=True)
    columns = [np.asarray(label, "u1")[:, None] for label in labels]
    path.write_bytes(np.concatenate([*columns, pixels.reshape(len(pixels), -1)], axis=1).tobytes())


def _write_python(path: Path, protocol=2, **entries):
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(pickle.dumps(entries, protocol))


def _unnormalised(images, mean, sd):
    return images.x.astype("f8") * np.reshape(sd, (3, 1, 1)) + np.reshape(mean, (3, 1, 1))


# All loaders


def test_load_images__takes_the_same_arguments_for_every_registered_name(tmp_path):
    assert set(names("datasets")) >= {"cifar10", "cifar100", "digits", "imagenet16-120", "synthetic"}
    for name in names("datasets"):
        try:
            images = load_examples(name, data_dir=tmp_path, seed=1, download=False)
        except FileNotFoundError as error:
            assert str(tmp_path) in str(error)  # noqa: PT017
        else:
            assert images.name == name


def test_load_images__names_the_nearest_data_set():
    with pytest.raises(ValueError, match="Did you mean 'cifar10' or 'cifar100'"):
        load_examples("cifar1")


def test_load_batch__is_a_draw_from_the_images():
    batch = load_batch("digits", batch_size=5, seed=3, augment=True)
    assert batch.sha256 == draw_batch(load_examples("digits"), batch_size=5, seed=3, augment=True).sha256
    with pytest.raises(ValueError, match=r"in 1\.\.1797"):
        load_batch("digits", batch_size=1798)


def test_normalise__equals_the_formula_for_every_pixel_value():
    x = np.arange(256, dtype="u1").reshape(1, 1, 16, 16).repeat(3, axis=1)
    out = normalise([x, x], mean=(125.3, 123.0, 113.9), std=(63.0, 62.1, 66.7))
    for c, (m, s) in enumerate([(125.3, 63.0), (123.0, 62.1), (113.9, 66.7)]):
        np.testing.assert_allclose(
            out[1, c].ravel(), (np.arange(256) / 255 - m / 255) / (s / 255), rtol=1e-6, atol=1e-7
        )


# digits and synthetic


def test_digits__are_the_images_of_scikit_learn():
    from sklearn.datasets import load_digits

    data, images = load_digits(), load_examples("digits")
    assert pytest.approx((data.images / 16).mean()) == MEAN
    assert pytest.approx((data.images / 16).std()) == STD
    for channel in range(3):
        np.testing.assert_allclose(images.x[:, channel] * STD + MEAN, data.images / 16, atol=1e-6)
    np.testing.assert_array_equal(images.y, data.target)
    assert (images.x.shape, images.x.dtype, images.y.dtype) == ((1797, 3, 8, 8), np.float32, np.int64)
    assert (images.num_classes, images.crop_padding) == (10, 1)
    assert "1,797" in images.source


def test_digits__say_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(ImportError, match=r"pip install .*scikit-learn"):
        load_examples("digits")


def test_synthetic__depends_on_the_seed_alone():
    first, again, other = (load_examples("synthetic", seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.x, again.x)
    np.testing.assert_array_equal(first.y, again.y)
    assert not np.array_equal(first.x, other.x)
    assert not np.array_equal(first.y, other.y)


def test_synthetic__is_one_stream_of_random_state():
    images = load_examples("synthetic", seed=5)
    random = np.random.RandomState(5)
    np.testing.assert_array_equal(images.y, random.randint(0, 10, 4096, dtype=np.int64))
    np.testing.assert_array_equal(images.x[:300], random.standard_normal((300, 3, 32, 32)).astype("f4"))
    assert set(images.y) == set(range(10))
    assert abs(images.x.mean()) < 0.002
    assert abs(images.x.std() - 1) < 0.002


# CIFAR


@pytest.mark.parametrize("as_parent", [True, False])
@pytest.mark.parametrize("layout", ["binary", "python", "python3"])
def test_cifar10__reads_both_layouts_in_order(tmp_path, layout, as_parent):
    folder = tmp_path / ("cifar-10-batches-bin" if layout == "binary" else "cifar-10-batches-py")
    pixels = _pixels(5)
    for name, part, labels in (("data_batch_2", pixels[3:], [9, 8]), ("data_batch_1", pixels[:3], [0, 1, 2])):
        if layout == "binary":
            _write_binary(folder / f"{name}.bin", part, labels)
        elif layout == "python":  # keys as Python 2 wrote them
            folder.mkdir(exist_ok=True)
            (folder / name).write_bytes(pickle.dumps({b"data": part.reshape(len(part), -1), b"labels": labels}, 2))
        else:
            _write_python(folder / name, 4, data=part.reshape(len(part), -1), labels=np.array(labels))
    images = load_examples("cifar10", data_dir=tmp_path if as_parent else folder)
    np.testing.assert_allclose(_unnormalised(images, (125.3, 123.0, 113.9), (63.0, 62.1, 66.7)), pixels, atol=1e-4)
    assert images.y.tolist() == [0, 1, 2, 9, 8]
    suffix = ".bin" if layout == "binary" else ""
    assert images.source == f"data_batch_1{suffix}, data_batch_2{suffix}: 5 of the 50,000 training images"
    assert (images.name, images.num_classes, images.crop_padding) == ("cifar10", 10, 4)
    assert (images.x.dtype, images.y.dtype) == (np.float32, np.int64)


@pytest.mark.parametrize("layout", ["binary", "python"])
def test_cifar100__prefers_training_images_and_says_which_it_read(tmp_path, layout):
    pixels = _pixels(3)

    def write(name, part, fine):
        coarse = [19] * len(part)
        if layout == "binary":
            _write_binary(tmp_path / "cifar-100-binary" / f"{name}.bin", part, coarse, fine)
        else:
            entries = {"data": part.reshape(len(part), -1), "coarse_labels": coarse, "fine_labels": fine}
            _write_python(tmp_path / "cifar-100-python" / name, **entries)

    write("test", pixels[:1], [42])
    images = load_examples("cifar100", data_dir=tmp_path)
    assert images.y.tolist() == [42]
    assert images.source.endswith(": 1 of the 10,000 test images")
    write("train", pixels[1:], [0, 99])
    images = load_examples("cifar100", data_dir=tmp_path)
    assert images.y.tolist() == [0, 99]
    assert images.source.endswith(": 2 of the 50,000 training images")
    np.testing.assert_allclose(_unnormalised(images, (129.3, 124.1, 112.4), (68.2, 65.4, 70.4)), pixels[1:], atol=1e-4)


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_cifar__says_what_it_looked_for_and_where_and_how_to_fetch_it(tmp_path, name):
    with pytest.raises(FileNotFoundError) as caught:
        load_examples(name, data_dir=tmp_path)
    message = str(caught.value)
    number = name.removeprefix("cifar")
    places = (
        ["cifar-10-batches-bin", "cifar-10-batches-py"] if number == "10" else ["cifar-100-binary", "cifar-100-python"]
    )
    for place in places:
        assert str(tmp_path / place) in message
    assert ("data_batch_5.bin" if number == "10" else "train.bin") in message
    assert f"sweetgrad profile STORE --dataset {name} --data-dir {tmp_path} --download" in message
    with pytest.raises(FileNotFoundError, match="--data-dir DIR"):
        load_examples(name, download=True)


@pytest.mark.parametrize("size", [0, 1, 3072, 3074, 2 * 3073 - 1])
def test_cifar10__names_a_file_of_a_broken_size(tmp_path, size):
    (tmp_path / "data_batch_3.bin").write_bytes(bytes(size))
    with pytest.raises(ValueError, match=rf"data_batch_3\.bin: .* records of 3,073 bytes, got {size:,} bytes"):
        load_examples("cifar10", data_dir=tmp_path)


def test_cifar__refuses_impossible_labels_and_names_the_file(tmp_path):
    _write_binary(tmp_path / "data_batch_1.bin", _pixels(2), [9, 10])
    with pytest.raises(ValueError, match=r"data_batch_1\.bin: labels must be in 0\.\.9, .* \(first: image 1 has 10\)"):
        load_examples("cifar10", data_dir=tmp_path)
    _write_binary(tmp_path / "train.bin", _pixels(2), [20, 0], [0, 0])
    with pytest.raises(ValueError, match=r"train\.bin: coarse labels must be in 0\.\.19"):
        load_examples("cifar100", data_dir=tmp_path)
    _write_binary(tmp_path / "train.bin", _pixels(1), [19], [100])
    with pytest.raises(ValueError, match=r"train\.bin: labels must be in 0\.\.99"):
        load_examples("cifar100", data_dir=tmp_path)


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"labels": [1]}, r"expected a pickled dict with 'data', got a dict with \['labels'\]"),
        ({"data": np.zeros((1, 3072), "u1")}, "expected a pickled dict with 'labels'"),
        ({"data": np.zeros((1, 768), "u1"), "labels": [1]}, r"uint8 of shape \(N, 3072\), got uint8 \(1, 768\)"),
        ({"data": np.zeros((1, 3072)), "labels": [1]}, r"got float64 \(1, 3072\)"),
        ({"data": [1], "labels": [1]}, "got list"),
        ({"data": np.zeros((1, 3072), "u1"), "labels": [1, 2]}, r"must be 1 integers, got int64 \(2,\)"),
        ({"data": np.zeros((1, 3072), "u1"), "labels": [-1]}, r"labels must be in 0\.\.9"),
    ],
)
def test_cifar10__says_what_a_python_batch_should_hold(tmp_path, entries, message):
    _write_python(tmp_path / "data_batch_1", **entries)
    with pytest.raises(ValueError, match=f"data_batch_1: .*{message}"):
        load_examples("cifar10", data_dir=tmp_path)


class _Touch:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


def test_loaders__run_nothing_that_a_batch_names(tmp_path):
    _write_python(tmp_path / "data_batch_1", data=_Touch(tmp_path / "ran"))
    _write_python(tmp_path / "train_data_batch_1", data=_Touch(tmp_path / "ran"))
    for name in ("cifar10", "imagenet16-120"):
        with pytest.raises(ValueError, match=r"data_batch_1: the pickle refers to \w+\.system"):
            load_examples(name, data_dir=tmp_path)
    assert not (tmp_path / "ran").exists()


@pytest.mark.shared_data
def test_cifar10__real_images_have_the_constants_of_the_benchmark():
    images = load_cifar10(_shared("cifar-10-batches-bin"))
    assert images.x.shape == (4000, 3, 32, 32)
    assert images.source == "data_batch_1.bin: 4,000 of the 50,000 training images"
    assert set(images.y) == set(range(10))
    assert np.abs(images.x.mean(axis=(0, 2, 3))).max() < 0.02
    assert np.abs(images.x.std(axis=(0, 2, 3)) - 1).max() < 0.02
    assert images.y[:3].tolist() == [6, 9, 9]  # a frog and two trucks, as every tutorial shows


@pytest.mark.shared_data
def test_cifar100__real_test_images():
    images = load_examples("cifar100", data_dir=_shared("cifar-100-binary"))
    assert images.source == "test.bin: 284 of the 10,000 test images"
    assert len(np.unique(images.y)) == 92
    assert np.abs(images.x.mean(axis=(0, 2, 3))).max() < 0.2


# ImageNet16-120


@pytest.mark.parametrize("as_parent", [True, False])
def test_imagenet16_120__keeps_the_first_120_classes_of_the_official_batches(tmp_path, as_parent):
    folder, pixels = tmp_path / "ImageNet16", _pixels(6, 16)
    for number, part, labels in ((10, pixels[4:], [121, 120]), (2, pixels[:4], [1, 1000, 2, 119])):
        _write_python(folder / f"train_data_batch_{number}", data=part.reshape(len(part), -1), labels=labels)
    images = load_examples("imagenet16-120", data_dir=tmp_path if as_parent else folder)
    assert images.y.tolist() == [0, 1, 118, 119]
    kept = pixels[[0, 2, 3, 5]]
    np.testing.assert_allclose(_unnormalised(images, (122.68, 116.66, 104.01), (63.22, 61.26, 65.09)), kept, atol=1e-4)
    assert images.source == "train_data_batch_2, train_data_batch_10: 4 of the 151,700 training images"
    assert (images.name, images.num_classes, images.crop_padding) == ("imagenet16-120", 120, 2)


@pytest.mark.parametrize("as_file", [True, False])
def test_imagenet16_120__reads_an_npz(tmp_path, as_file):
    pixels, path = _pixels(3, 16), tmp_path / "imagenet16_120_mine.npz"
    np.savez_compressed(path, x=pixels.transpose(0, 2, 3, 1), y=np.array([0, 119, 7], "u1"))
    images = load_examples("imagenet16-120", data_dir=path if as_file else tmp_path)
    np.testing.assert_allclose(
        _unnormalised(images, (122.68, 116.66, 104.01), (63.22, 61.26, 65.09)), pixels, atol=1e-4
    )
    assert images.y.tolist() == [0, 119, 7]
    assert images.source == "imagenet16_120_mine.npz: 3 images"


def test_imagenet16_120__says_that_it_must_be_got_by_hand(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"train_data_batch_1 .*specify its folder") as caught:
        load_examples("imagenet16-120", data_dir=tmp_path, download=True)
    assert f"{tmp_path / 'ImageNet16'}, {tmp_path}" in str(caught.value)
    with pytest.raises(FileNotFoundError, match="no --data-dir was given"):
        load_examples("imagenet16-120")


def test_imagenet16_120__wants_to_be_told_which_npz(tmp_path):
    for name in ("a", "b"):
        np.savez(tmp_path / f"imagenet16_120_{name}.npz", x=np.zeros((1, 16, 16, 3), "u1"), y=np.array([0]))
    with pytest.raises(ValueError, match=r"2 files .*imagenet16_120_a\.npz, imagenet16_120_b\.npz"):
        load_examples("imagenet16-120", data_dir=tmp_path)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": np.zeros((1, 16, 16, 3), "u1")}, "arrays x and y"),
        ({"x": np.zeros((1, 3, 16, 16), "u1"), "y": [0]}, r"\(N, 16, 16, 3\), got uint8 \(1, 3, 16, 16\)"),
        ({"x": np.zeros((1, 16, 16, 3), "f4"), "y": [0]}, "got float32"),
        ({"x": np.zeros((1, 16, 16, 3), "u1"), "y": [0, 1]}, r"1 integers, got int64 \(2,\)"),
        ({"x": np.zeros((1, 16, 16, 3), "u1"), "y": [120]}, r"labels must be in 0\.\.119"),
        ({"x": np.zeros((1, 16, 16, 3), "u1"), "y": np.array([None])}, "without objects"),
        ({"x": np.zeros((0, 16, 16, 3), "u1"), "y": np.zeros(0, "i8")}, "no image"),
    ],
)
def test_imagenet16_120__says_what_an_npz_should_hold(tmp_path, arrays, message):
    np.savez(tmp_path / "imagenet16_120.npz", **arrays)
    with pytest.raises(ValueError, match=message):
        load_examples("imagenet16-120", data_dir=tmp_path)


def test_imagenet16_120__names_a_truncated_or_foreign_file(tmp_path):
    path = tmp_path / "imagenet16_120.npz"
    np.savez(path, x=np.zeros((4, 16, 16, 3), "u1"), y=np.arange(4))
    whole = path.read_bytes()
    for content in (whole[: len(whole) // 2], b"", b"text", pickle.dumps({})):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"imagenet16_120\.npz must be an intact \.npz"):
            load_examples("imagenet16-120", data_dir=path)


def test_imagenet16_120__refuses_labels_and_batches_of_other_data_sets(tmp_path):
    path = tmp_path / "train_data_batch_1"
    _write_python(path, data=_pixels(1, 16).reshape(1, -1), labels=[0])
    with pytest.raises(ValueError, match=r"train_data_batch_1: labels must be in 1\.\.1000"):
        load_examples("imagenet16-120", data_dir=tmp_path)
    _write_python(path, data=_pixels(1, 32).reshape(1, -1), labels=[1])
    with pytest.raises(ValueError, match=r"shape \(N, 768\), got uint8 \(1, 3072\)"):
        load_examples("imagenet16-120", data_dir=tmp_path)
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(ValueError, match=r"train_data_batch_1 cannot be read .*truncated"):
        load_examples("imagenet16-120", data_dir=tmp_path)
    _write_python(path, data=_pixels(1, 16).reshape(1, -1), labels=[121])
    with pytest.raises(ValueError, match="no image is in one of the 120 classes"):
        load_examples("imagenet16-120", data_dir=tmp_path)


@pytest.mark.shared_data
def test_imagenet16_120__stand_in_has_an_image_of_every_class():
    images = load_examples("imagenet16-120", data_dir=_shared("imagenet16_120_like.npz"))
    assert images.x.shape == (120, 3, 16, 16)
    assert images.y.tolist() == list(range(120))
    assert np.abs(images.x.mean(axis=(0, 2, 3))).max() < 0.2
