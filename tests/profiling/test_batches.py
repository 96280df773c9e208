import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sweetgrad.profiling.batches import Batch, Examples, draw_batch, random_batch


def _images(num=20, *, channels=3, size=4, padding=1):
    """Every pixel of image i has a value of its own, so that crops and flips can be told apart; none is 0, the padding."""
    x = 1 + np.arange(num * channels * size * size, dtype=np.float32).reshape(num, channels, size, size)
    return Examples(
        "numbered", x, np.arange(num, dtype=np.int64) % 5, num_classes=5, source="a test", crop_padding=padding
    )


def test_draw_batch__follows_the_stream_of_random_state():
    images = _images()
    chosen = np.random.RandomState(7).permutation(20)[:6]
    batch = draw_batch(images, batch_size=6, seed=7)
    np.testing.assert_array_equal(batch.x, images.x[chosen])
    np.testing.assert_array_equal(batch.y, images.y[chosen])
    assert (batch.num_classes, batch.dataset, batch.source, batch.augment) == (5, "numbered", "a test", False)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 20), st.integers(0, 2**32 - 1))
def test_draw_batch__draws_without_replacement(batch_size, seed):
    batch = draw_batch(_images(), batch_size=batch_size, seed=seed)
    assert len({image.tobytes() for image in batch.x}) == batch_size


def test_draw_batch__depends_on_the_seed_alone():
    first, again, other = (draw_batch(_images(), batch_size=8, seed=seed, augment=True) for seed in (1, 1, 2))
    assert first.sha256 == again.sha256 != other.sha256


@pytest.mark.parametrize("batch_size", [0, -1, 21])
def test_draw_batch__names_the_sizes_that_it_can_draw(batch_size):
    with pytest.raises(ValueError, match=rf"in 1\.\.20 \(the size of numbered\), got {batch_size}"):
        draw_batch(_images(), batch_size=batch_size, seed=0)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(0, 3))
def test_draw_batch__augments_each_image_to_a_crop_or_its_mirror(seed, padding):
    images = _images(padding=padding)
    plain = draw_batch(images, batch_size=10, seed=seed)
    batch = draw_batch(images, batch_size=10, seed=seed, augment=True)
    assert batch.augment
    np.testing.assert_array_equal(batch.y, plain.y)
    for before, after in zip(plain.x, batch.x, strict=True):
        padded = np.pad(before, ((0, 0), (padding, padding), (padding, padding)))
        offsets = range(2 * padding + 1)
        crops = [padded[:, i : i + 4, j : j + 4] for i in offsets for j in offsets]
        assert any(np.array_equal(after, crop) or np.array_equal(after, crop[:, :, ::-1]) for crop in crops)


def test_draw_batch__augmentation_flips_some_and_moves_some():
    images = _images(400, channels=1)
    plain = draw_batch(images, batch_size=400, seed=0)
    batch = draw_batch(images, batch_size=400, seed=0, augment=True)
    inner = batch.x[:, 0, 1:3, 1:3]  # never padding
    mirrored = (inner[:, 0, 0] > inner[:, 0, 1]).sum()
    unchanged = (batch.x == plain.x).all(axis=(1, 2, 3)).sum()
    assert 150 < mirrored < 250  # half
    assert 5 < unchanged < 45  # 1 of 9 offsets, unflipped: 22


def test_draw_batch__leaves_the_images_alone():
    images = _images()
    before = images.x.copy()
    draw_batch(images, batch_size=20, seed=0, augment=True).x[:] = 0
    draw_batch(images, batch_size=20, seed=0).x[:] = 0
    np.testing.assert_array_equal(images.x, before)


def test_batch__digest_is_of_little_endian_images_and_labels():
    batch = Batch(np.ones((1, 1, 1, 1), "float32"), np.array([2]), num_classes=3)
    by_hand = bytes.fromhex("0000803f") + bytes.fromhex("0200000000000000")
    assert batch.sha256 == hashlib.sha256(by_hand).hexdigest()


@pytest.mark.parametrize("label", [-1, 5, 10**9])
def test_batch__names_the_first_label_out_of_range(label):
    y = np.array([0, label, label])
    with pytest.raises(ValueError, match=rf"in 0\.\.4, but 2 are not \(first: image 1 has {label}\)"):
        Batch(np.zeros((3, 1, 2, 2), "float32"), y, num_classes=5)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_batch__names_the_first_image_that_is_not_finite(value):
    x = np.zeros((3, 1, 2, 2), "float32")
    x[2, 0, 1, 1] = value
    with pytest.raises(ValueError, match=r"1 of 3 images contain NaN or infinite values \(first: image 2\)"):
        Batch(x, np.zeros(3, "int64"), num_classes=5)


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (np.zeros((2, 3, 4), "f4"), np.zeros(2, "i8"), r"shape \(N, C, H, W\), got float32 \(2, 3, 4\)"),
        (np.zeros((2, 1, 1, 1), "f8"), np.zeros(2, "i8"), r"must be float32 .* got float64"),
        (np.zeros((2, 1, 1, 1), "f4"), np.zeros(3, "i8"), r"int64 of shape \(2,\), got int64 \(3,\)"),
        (np.zeros((2, 1, 1, 1), "f4"), np.zeros(2, "i4"), r"must be int64 .* got int32"),
    ],
)
def test_batch__says_what_arrays_it_needs(x, y, message):
    with pytest.raises(ValueError, match=message):
        Batch(x, y, num_classes=2)


def test_random_batch__follows_the_stream_of_random_state():
    batch = random_batch((2, 3, 5), num_classes=4, batch_size=6, seed=9)
    random = np.random.RandomState(9)
    np.testing.assert_array_equal(batch.y, random.randint(0, 4, size=6))
    np.testing.assert_array_equal(batch.x, random.standard_normal((6, 2, 3, 5)).astype("float32"))
    assert (batch.dataset, batch.num_classes) == ("random", 4)


@pytest.mark.parametrize("wrong", [{"shape": (3, 0, 4)}, {"num_classes": 0}, {"batch_size": -1}])
def test_random_batch__refuses_nothing(wrong):
    with pytest.raises(ValueError, match="must be at least 1, got"):
        random_batch(**{"shape": (3, 4, 4), "num_classes": 2, "batch_size": 3, **wrong})
