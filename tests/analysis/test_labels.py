import hashlib

import pandas as pd
import pytest

from sweetgrad.analysis.labels import own_accuracy, seeds_of, selectors_of
from sweetgrad.store import ProfileSpec, import_accuracy, info

ARCHS = [f"a{i}" for i in range(6)]
SPEC = ProfileSpec(
    space="toy",
    dataset="cifar10",
    batch_size=4,
    seed=0,
    num_classes=10,
    input_shape=(3, 8, 8),
    batch_sha256="0" * 64,
    arch_sha256=hashlib.sha256("".join(f"{arch}\n" for arch in ARCHS).encode()).hexdigest(),
)


@pytest.fixture
def path(tmp_path, make_profile, write_profile):
    """A profile of which the first four architectures are measured."""
    rows = make_profile(len(ARCHS)).assign_coords(arch=ARCHS)
    write_profile(tmp_path / "s.zarr", SPEC, rows, num_measured=4)
    return tmp_path / "s.zarr"


def label(path, split, archs, *, dataset="cifar10"):
    table = pd.DataFrame(
        {"arch": archs, "dataset": dataset, "split": split, "epochs": 200, "accuracy": range(50, 50 + len(archs))}
    )
    import_accuracy(path, space="toy", table=table, source=split)


def own(path):
    found = info(path)
    return own_accuracy(path, found, found.profiles[0])


@pytest.mark.parametrize(
    ("splits", "expected"),
    [
        ({}, None),
        ({"valid": ARCHS}, "cifar10/valid"),
        ({"valid": ARCHS, "test": ARCHS[:3]}, "cifar10/test"),
        ({"x-valid": ARCHS, "x-test": ARCHS[:3]}, "cifar10/x-test"),
        ({"test": ARCHS[:2], "test-1run": ARCHS}, "cifar10/test-1run"),  # NAS-Bench-101: few graphs have several runs
        ({"valid": ARCHS, "test": [ARCHS[0], *ARCHS[4:]]}, "cifar10/valid"),  # of the measured one has a test accuracy
    ],
)
def test_own_accuracy__is_on_test_images_and_of_the_most_measured_architectures(path, splits, expected):
    for split, archs in splits.items():
        label(path, split, archs)
    assert own(path) == expected


def test_own_accuracy__is_of_the_profiles_own_data_set(path):
    label(path, "test", ARCHS, dataset="cifar100")
    assert own(path) is None
    assert selectors_of(info(path), "toy") == ("cifar100/test/200",)


def test_own_accuracy__is_the_mean_and_not_that_of_one_of_its_seeds(path):
    for dataset in ("cifar10", "cifar10/seed0", "cifar10/seed1"):
        for split in ("valid", "test"):
            label(path, split, ARCHS if "seed" in dataset else ARCHS[:3], dataset=dataset)
    assert own(path) == "cifar10/test"
    assert seeds_of(info(path), "toy", "cifar10/test") == ["cifar10/seed0/test", "cifar10/seed1/test"]


def test_seeds_of__nothing_that_was_not_trained_seed_by_seed(path):
    for dataset in ("cifar10", "cifar100/seed0"):
        label(path, "test", ARCHS, dataset=dataset)
    assert seeds_of(info(path), "toy", "cifar10/test") == []
