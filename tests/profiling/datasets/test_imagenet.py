import builtins
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sweetgrad.profiling import draw_batch
from sweetgrad.profiling.datasets.imagenet import load_imagenet

Image = pytest.importorskip("PIL.Image", reason="needs pillow: pip install '.[images]'")

CLASSES = ("n01440764", "n01443537", "n02119789")
MEAN, SD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])


def save(path: Path, pixels: Any, mode: str | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.fromarray(np.asarray(pixels, np.uint8))
    (picture.convert(mode) if mode else picture).save(path)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two pictures of one colour in each of three classes."""
    for label, name in enumerate(CLASSES):
        for number in range(2):
            colour = (50 * label, 100, 10 * number)
            save(tmp_path / "train" / name / f"{name}_{number}.PNG", np.full((300, 260, 3), colour))
    return tmp_path


def test_imagenet__labels_are_the_places_of_the_folders_by_name(root: Path) -> None:
    images = load_imagenet(root)
    assert (images.name, images.num_classes, images.y.tolist()) == ("imagenet", 3, [0, 0, 1, 1, 2, 2])
    assert images.source.startswith("train: 6 pictures in 3 classes (SHA-256 of their names: ")
    batch = draw_batch(images, batch_size=6, seed=0)
    assert batch.x.shape == (6, 3, 224, 224)
    colours = (batch.x[:, :, 0, 0] * SD + MEAN) * 255
    for label, colour in zip(batch.y, colours, strict=True):
        assert colour == pytest.approx([50 * label, 100, colour[2]], abs=1e-3)
    assert sorted(np.round(colours[:, 2]).tolist()) == [0, 0, 0, 10, 10, 10]


@pytest.mark.parametrize("place", ["train", "ILSVRC/Data/CLS-LOC/train", "imagenet/train", "imagenet", "."])
def test_imagenet__is_found_where_people_keep_it(place: str, tmp_path: Path) -> None:
    save(tmp_path / place / "n01440764" / "a.JPEG", np.zeros((30, 30, 3)))
    assert len(load_imagenet(tmp_path).y) == 1


def test_imagenet__scales_the_shorter_side_and_takes_the_middle(tmp_path: Path) -> None:
    # 512 wide, 256 high: nothing is scaled, and 144 columns on the left and 16 rows at the top are cut off.
    pixels = np.zeros((256, 512, 3))
    pixels[16, 144] = 255
    pixels[239, 367] = 255
    save(tmp_path / "a" / "a.png", pixels)
    x = draw_batch(load_imagenet(tmp_path), batch_size=1, seed=0).x[0, 0]
    assert x[0, 0] == x[223, 223] == pytest.approx((1 - 0.485) / 0.229)
    assert np.count_nonzero(x > 0) == 2


def test_imagenet__enlarges_small_pictures_and_takes_grey_and_transparent_ones(tmp_path: Path) -> None:
    for mode in ("L", "RGBA", "P", "CMYK"):
        suffix = "jpg" if mode == "CMYK" else "png"
        save(tmp_path / "a" / f"{mode}.{suffix}", np.full((20, 33, 3), 153), mode)
    x = draw_batch(load_imagenet(tmp_path), batch_size=4, seed=0).x
    expected = (153 / 255 - MEAN) / SD  # a colour of the web's palette
    assert np.abs(x - expected[:, None, None]).max() < 0.05


def test_imagenet__reads_only_the_pictures_of_the_batch(root: Path) -> None:
    images = load_imagenet(root)
    drawn = draw_batch(images, batch_size=1, seed=3)
    place = np.random.RandomState(3).permutation(6)[0]
    for label, name in enumerate(CLASSES):
        for number in range(2):
            if 2 * label + number != place:
                (root / "train" / name / f"{name}_{number}.PNG").write_bytes(b"broken")
    assert np.array_equal(draw_batch(load_imagenet(root), batch_size=1, seed=3).x, drawn.x)
    with pytest.raises(ValueError, match=r"PNG cannot be read as an image .*download it again, or remove it"):
        draw_batch(load_imagenet(root), batch_size=6, seed=3)


def test_imagenet__an_empty_class_is_named(root: Path) -> None:
    (root / "train" / "n99999999").mkdir()
    with pytest.raises(ValueError, match=r"n99999999 has no images"):
        load_imagenet(root)


@pytest.mark.parametrize("given", [True, False])
def test_imagenet__says_what_it_expects_and_where_it_looked(given: bool, tmp_path: Path) -> None:
    (tmp_path / "some" / "folder").mkdir(parents=True)
    looked = rf"found none in {tmp_path}" if given else "no --data-dir was given"
    with pytest.raises(FileNotFoundError, match=rf"train/n01440764/\*\.JPEG; {looked}.*image-net\.org"):
        load_imagenet(tmp_path if given else None)


def test_imagenet__without_pillow_says_what_to_install(monkeypatch: pytest.MonkeyPatch, root: Path) -> None:
    real = builtins.__import__

    def without_pillow(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.startswith("PIL"):
            raise ImportError("No module named 'PIL'")
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without_pillow)
    with pytest.raises(ImportError, match="pip install 'pillow>="):
        load_imagenet(root)


def test_imagenet__a_picture_beyond_measure_is_not_decoded(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sweetgrad.profiling.datasets.imagenet._MAX_PIXELS", 1000)
    with pytest.raises(ValueError, match="260 x 300 pixels, more than 1,000"):
        draw_batch(load_imagenet(root), batch_size=1, seed=0)
