"""``--blocks activations``, from the command line down to what refuses it."""

import numpy as np
import pytest
from torch import nn
from typer.testing import CliRunner

from sweetgrad import flows, profiling
from sweetgrad.flows import profile
from sweetgrad.flows.cli import app as cli
from sweetgrad.flows.inputs import select_blocks
from sweetgrad.profiling.spaces.protocol import Layer, Network


class NoCells:
    """A space as somebody may have written it who counts gradients only: one layer of two modules."""

    name, variant, init, layer_names, input_size = "no-cells", "", "pytorch-default", ("cell0",), 8

    def __len__(self):
        return 2

    def arch_id(self, index):
        return f"arch{index}"

    def build(self, arch_id, *, in_channels, num_classes):
        parts = nn.Linear(in_channels * 64, 4), nn.Linear(4, num_classes)
        return Network(nn.Sequential(nn.Flatten(), *parts), (Layer("cell0", "cell", parts),))


def test_profile__refuses_activations_of_a_space_without_cells_before_anything_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr(profiling, "load_space", lambda *args, **options: NoCells())
    with pytest.raises(ValueError, match=r"layer 'cell0' consists of 2 modules, .* must build each cell as one module"):
        profile(tmp_path / "s.zarr", space="nas-bench-201", batch_size=4, blocks=["activations"])
    assert not (tmp_path / "s.zarr").exists()


def test_select_blocks__names_each_once():
    assert select_blocks(["counts"]) == ()
    assert select_blocks(["moments", "all", "synflow"])[:3] == ("moments", "tensor_sums", "second_batch")
    assert len(select_blocks(["moments", "all", "synflow"])) == 9


@pytest.mark.parametrize(
    ("command", "function"),
    [
        (["profile", "s.zarr"], "profile"),
        (["estimate", "s.zarr", "toy"], "estimate"),
    ],
)
@pytest.mark.parametrize("asked", [False, True])
def test_command__hands_activations_on(command, function, asked, monkeypatch):
    seen = {}

    def note(*args, **options):
        seen.update(options)
        raise KeyboardInterrupt

    monkeypatch.setattr(flows, function, note)
    CliRunner().invoke(cli.app, [*command, *(["--blocks", "activations"] if asked else [])])
    assert seen["blocks"] == (["activations"] if asked else [])


def test_activations__are_not_among_the_scores_that_are_compared():
    from sweetgrad.analysis import estimator_scores
    from sweetgrad.profiling import load_batch, load_space, make_spec, profile_architectures

    space, batch = load_space("nas-bench-201"), load_batch("digits", batch_size=2)
    rows = profile_architectures(
        space, [0], batch, make_spec(space, batch), estimators=["snip"], blocks=["activations"]
    )
    assert rows["estimator"].values.tolist() == ["snip", "activations"]
    stored = rows[["score", "seconds"]].assign(status=rows.estimator_status)
    names = estimator_scores(rows, stored, (1e-4, 5e-4))["estimator"].values.tolist()
    assert "snip" in names
    assert "activations" not in names
    assert np.isfinite(rows.score.values).all()
