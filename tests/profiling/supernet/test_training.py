import itertools
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch

from sweetgrad.profiling import Examples
from sweetgrad.profiling.spaces.nas_bench_201 import NasBench201
from sweetgrad.profiling.spaces.nas_bench_201_network import OPERATIONS, NasBench201Network
from sweetgrad.profiling.supernet import SupernetSettings, SupernetTraining, subnet_accuracy
from sweetgrad.store.spaces.cells import EDGES, parse_arch

SETTINGS = SupernetSettings(
    epochs=3,
    batch_size=8,
    learning_rate=0.1,
    num_calibration=16,
    widths=(4, 6, 8),
    depth=1,
    valid_share=0.25,
    augment=True,
)
BEST = "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|skip_connect~0|nor_conv_3x3~1|nor_conv_3x3~2|"
DEAD = "|none~0|+|none~0|none~1|+|none~0|none~1|none~2|"


def same(a, b):
    state = zip(a.supernet.state_dict().items(), b.supernet.state_dict().items(), strict=True)
    return all(torch.equal(x, y) for (_, x), (_, y) in state) and np.array_equal(a.losses, b.losses)


@pytest.fixture(scope="module")
def images():
    """Images that a network can learn: the brightness of the three channels says the class."""
    random = np.random.RandomState(0)
    y = random.randint(0, 3, size=64).astype(np.int64)
    x = random.standard_normal((64, 3, 8, 8)).astype(np.float32)
    x[np.arange(64), y] += 3
    return Examples("tiny", x, y, num_classes=3, crop_padding=1)


@pytest.fixture(scope="module")
def trained(images):
    training = SupernetTraining(images, SETTINGS)
    assert training.run()
    return training


def test_training__resumed_is_uninterrupted_bit_for_bit(images, trained, tmp_path):
    file = tmp_path / "s.npz"
    for stop_after in (1, 4, 7, 100):  # within an epoch, too; each in a new object, as in a new process
        part, steps = SupernetTraining(images, SETTINGS), itertools.count(1)
        part.run(file, should_stop=lambda steps=steps, after=stop_after: next(steps) > after)
    assert part.num_done == len(part.losses) == 18
    assert same(part, trained)
    assert part.weights_sha256() == trained.weights_sha256()


def test_training__saved_after_every_step_and_cut_off_goes_on_from_the_last(images, trained, tmp_path):
    file, part = tmp_path / "s.npz", SupernetTraining(images, SETTINGS)

    def die(training):
        if training.num_done == 5:
            raise KeyboardInterrupt  # before this step is saved, as a kill -9 might come

    with pytest.raises(KeyboardInterrupt):
        part.run(file, on_step=die, save_every_s=0)
    again = SupernetTraining(images, SETTINGS)
    again.load(file)
    assert again.num_done == 4
    again.run(file)
    assert same(again, trained)


def test_training__another_seed_is_another_training(images, trained):
    other = SupernetTraining(images, replace(SETTINGS, seed=1))
    other.run()
    assert not same(other, trained)


def test_training__a_step_moves_the_path_and_what_all_share_and_nothing_else(images):
    training = SupernetTraining(images, SETTINGS)
    for _ in range(4):  # from the second step on there is momentum
        before = {name: p.detach().clone() for name, p in training.supernet.named_parameters()}
        training.step()
        has_gradient = {name for name, p in training.supernet.named_parameters() if p.grad is not None}
        moved = {name for name, p in training.supernet.named_parameters() if not torch.equal(before[name], p)}
        assert moved <= has_gradient
        assert "network.classifier.bias" in moved


def test_training__paths_are_uniform(images):
    training = SupernetTraining(images, replace(SETTINGS, epochs=1))
    drawn = []
    for epoch in range(600):
        training._draw_epoch(epoch)
        drawn += training._paths
    for edge in range(len(EDGES)):
        shares = np.array([Counter(path[edge] for path in drawn)[name] for name in OPERATIONS]) / len(drawn)
        assert np.abs(shares - 0.2).max() < 0.03  # four standard errors


def test_training__images_to_score_on_are_never_trained_on(images):
    training = SupernetTraining(images, SETTINGS)
    assert sorted([*training.train, *training.valid]) == list(range(64))
    assert (len(training.train), len(training.valid)) == (48, 16)


def test_training__learns(images):
    training = SupernetTraining(images, replace(SETTINGS, epochs=30))
    training.run()
    first, last = training.losses[:18].mean(), training.losses[-18:].mean()
    assert last < 0.8 * first
    assert subnet_accuracy(training, BEST) > 80


def test_subnet_accuracy__is_that_of_the_standalone_network_with_statistics_made_anew(images, trained):
    for arch in (BEST, "|nor_conv_1x1~0|+|none~0|skip_connect~1|+|skip_connect~0|avg_pool_3x3~1|nor_conv_3x3~2|"):
        alone = NasBench201Network(
            parse_arch(arch), in_channels=3, num_classes=3, widths=SETTINGS.widths, depth=SETTINGS.depth
        )
        alone.load_state_dict({k: v.clone() for k, v in trained.supernet.inherited(arch).items()})
        for module in alone.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.reset_running_stats()
                module.momentum = None
        x = torch.from_numpy(images.x)
        with torch.no_grad():
            alone.train()
            for start in (0, 8):
                alone(x[trained.train[start : start + 8]])
            right = alone.eval()(x[trained.valid]).argmax(1).numpy() == images.y[trained.valid]
        assert subnet_accuracy(trained, arch) == 100 * right.mean()


def test_subnet_accuracy__does_not_depend_on_what_was_scored_before(trained):
    space = NasBench201()
    archs = [BEST, DEAD, *(space.arch_id(i) for i in (5, 5000, 9000))]
    before = trained.supernet.network.classifier.weight.clone()
    forward = [subnet_accuracy(trained, arch) for arch in archs]
    backward = [subnet_accuracy(trained, arch) for arch in reversed(archs)]
    assert forward == backward[::-1]
    assert torch.equal(before, trained.supernet.network.classifier.weight)


def test_load__refuses_another_training_and_a_damaged_file(images, tmp_path):
    file = tmp_path / "s.npz"
    SupernetTraining(images, SETTINGS).save(file)
    with pytest.raises(ValueError, match=r"s\.npz is from a different training: its epochs is 3, not 4"):
        SupernetTraining(images, replace(SETTINGS, epochs=4)).load(file)
    with pytest.raises(ValueError, match="its images_sha256 is"):
        SupernetTraining(replace(images, x=images.x + 1), SETTINGS).load(file)
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(ValueError, match=r"cannot be read as a checkpoint .*delete it"):
        SupernetTraining(images, SETTINGS).load(file)


def test_save__leaves_no_partial_file(images, tmp_path):
    SupernetTraining(images, SETTINGS).save(tmp_path / "folder" / "s.npz")
    assert [path.name for path in (tmp_path / "folder").iterdir()] == ["s.npz"]


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"epochs": 0}, "epochs must be at least 1, got 0"),
        ({"batch_size": 1}, "batch_size must be at least 2"),
        ({"valid_share": 1.0}, "valid_share must be between 0 and 1"),
        ({"learning_rate": 0.0001}, "must not increase from the first to the last step"),
        ({"seed": -1}, "seed must be in"),
    ],
)
def test_settings__say_what_is_wrong(changed, says):
    with pytest.raises(ValueError, match=says):
        SupernetSettings(**changed)


def test_training__refuses_too_few_images(images):
    with pytest.raises(
        ValueError, match="64 images of tiny are split into 48 to train on and 16 to score on, with batches of 64"
    ):
        SupernetTraining(images, replace(SETTINGS, batch_size=64))


def test_training__a_loss_that_is_not_finite_is_said(images):
    training = SupernetTraining(images, SETTINGS)
    with torch.no_grad():
        training.supernet.network.classifier.bias.fill_(float("nan"))
    with pytest.raises(ValueError, match="loss of step 0 is nan: use a smaller learning rate"):
        training.step()
