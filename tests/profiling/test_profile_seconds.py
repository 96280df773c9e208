"""What `profile_seconds` is the time of, on a clock that only goes on when it is told to."""

from contextlib import contextmanager
from types import SimpleNamespace

import pytest
from torch import nn

from sweetgrad.profiling import architectures, load_batch, make_spec, measure, profile_architectures
from sweetgrad.profiling.estimators import estimator, running
from sweetgrad.profiling.spaces.protocol import Layer, Network

BATCH = load_batch("digits", batch_size=4)
BUILD, FORWARD, COUNT, SLOW = 1, 2, 4, 1000


@pytest.fixture(autouse=True)
def clock(monkeypatch):
    clock = SimpleNamespace(now=0.0, perf_counter=lambda: clock.now)
    for module in (architectures, measure, running):
        monkeypatch.setattr(module, "time", clock)
    count = measure.count_layers

    def count_layers(*args):
        clock.now += COUNT
        return count(*args)

    monkeypatch.setattr(measure, "count_layers", count_layers)
    return clock


@pytest.fixture
def space(clock):
    class Timed(nn.Linear):
        def forward(self, x):
            clock.now += FORWARD
            return super().forward(x.flatten(1))

    class Space:
        name, variant, init, layer_names, input_size = "timed", "", "pytorch-default", ("head",), 8

        def __len__(self):
            return 2

        def arch_id(self, index):
            return f"arch{index}"

        def build(self, arch_id, *, in_channels, num_classes):
            clock.now += BUILD
            module = Timed(in_channels * 8 * 8, num_classes)
            return Network(module, (Layer("head", "head", (module,)),))

    return Space()


@pytest.fixture
def slow(clock):
    """Slow estimators of every sort."""

    def wait(probe):
        clock.now += SLOW
        return 1.0

    def fail(probe):
        clock.now += SLOW
        raise ValueError("too slow")

    @contextmanager
    def watch(network):
        raise RuntimeError("cannot look")
        yield

    return {
        "network": estimator(needs="network")(lambda probe: wait(probe)),
        "gradients": wait,
        "graph": estimator(needs="graph")(lambda probe: wait(probe)),
        "fails": fail,
        "fails-on-the-graph": estimator(needs="graph")(lambda probe: fail(probe)),
        "cannot-watch": estimator(watch=watch)(lambda probe: wait(probe)),
    }


def measured(space, estimators):
    return profile_architectures(space, [0, 1], BATCH, make_spec(space, BATCH), estimators=estimators)


def test_profile_seconds__are_those_of_building_a_pass_and_counting(space):
    rows = measured(space, {})
    assert rows.message.values.tolist() == ["", ""]
    assert rows.profile_seconds.values.tolist() == [BUILD + FORWARD + COUNT] * 2


@pytest.mark.parametrize("name", ["network", "gradients", "graph", "fails", "fails-on-the-graph", "cannot-watch"])
def test_profile_seconds__do_not_contain_those_of_an_estimator(space, slow, name):
    rows = measured(space, {name: slow[name]})
    assert rows.profile_seconds.values.tolist() == [BUILD + FORWARD + COUNT] * 2
    if name != "cannot-watch":
        assert rows.seconds.values.tolist() == [[SLOW]] * 2


def test_profile_seconds__do_not_depend_on_what_else_was_asked_for(space, slow):
    rows = measured(space, slow)
    assert rows.profile_seconds.values.tolist() == [BUILD + FORWARD + COUNT] * 2
    assert rows.estimator_status.values.tolist() == [[1, 1, 1, 2, 2, 2]] * 2


def test_profile_seconds__contain_what_looks_on_during_the_pass(space, clock):
    @contextmanager
    def watch(network):
        def hook(*_):
            clock.now += 8

        handle = network.module.register_forward_hook(hook)
        yield
        handle.remove()

    rows = measured(space, {"watches": estimator(watch=watch)(lambda probe: 1.0)})
    assert rows.profile_seconds.values.tolist() == [BUILD + FORWARD + 8 + COUNT] * 2


def test_profile_seconds__of_a_failed_row_run_until_it_failed(space, monkeypatch):
    monkeypatch.setattr(measure, "count_layers", lambda *_: 1 / 0)
    rows = measured(space, {})
    assert rows.status.values.tolist() == [2, 2]
    assert rows.profile_seconds.values.tolist() == [BUILD + FORWARD] * 2
