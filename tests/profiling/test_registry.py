from importlib.metadata import EntryPoint, EntryPoints

import numpy as np
import pytest

from sweetgrad.profiling import load_examples, load_space, registered, registry


@pytest.fixture
def third_party(monkeypatch):
    """Register ``sweetgrad.<group>`` entry points as an installed package would."""
    real = registry.entry_points

    def register(group, name, value):
        def entry_points(*, group):
            return EntryPoints([*real(group=group), *(e for e in added if e.group == group)])

        added.append(EntryPoint(name, value, f"sweetgrad.{group}"))
        monkeypatch.setattr(registry, "entry_points", entry_points)

    added: list[EntryPoint] = []
    return register


def test_names__lists_what_is_built_in():
    assert set(registered("spaces")) >= {"darts", "nas-bench-101", "nas-bench-201", "nds-pnas"}
    assert set(registered("datasets")) >= {"cifar10", "cifar100", "digits", "imagenet16-120", "synthetic"}
    assert set(registered("estimators")) >= {"grad_norm", "snip"}


@pytest.mark.parametrize(
    ("group", "name", "message"),
    [
        (
            "spaces",
            "nasbench201",
            r"no search space named 'nasbench201'\. Did you mean 'nas-bench-201' or 'nas-bench-\d01'\?",
        ),
        ("spaces", "NAS-Bench-201", r"no search space named .* Did you mean 'nas-bench-201'"),
        ("datasets", "cifar-10", r"no data set named 'cifar-10'\. Did you mean 'cifar10'"),
        ("datasets", "imagenet-16", r"no data set named 'imagenet-16'\. Did you mean 'imagenet"),
        (
            "estimators",
            "gradnorm",
            r"no estimator named 'gradnorm'\. Did you mean 'grad_norm' or .*\? Registered: .*snip",
        ),
    ],
)
def test_load__names_the_nearest(group, name, message):
    with pytest.raises(ValueError, match=message):
        registry.load(group, name)


def test_load__lists_all_names_where_none_is_near():
    with pytest.raises(ValueError, match=r"no estimator named 'qqq'\. Registered: (?!.*Did you mean).*grad_norm"):
        registry.load("estimators", "qqq")


def test_require__names_the_first_that_is_missing_and_imports_nothing(monkeypatch):
    monkeypatch.setattr(EntryPoint, "load", lambda entry: pytest.fail(f"imported {entry.name}"))
    registry.require("estimators", ["snip", "grasp"])
    registry.require("blocks", [])
    with pytest.raises(ValueError, match=r"no block named 'tensor_sum'\. Did you mean 'tensor_sums'"):
        registry.require("blocks", ["synflow", "tensor_sum", "zzz"])


def test_load_space__hands_options_over_and_names_those_there_are():
    space = load_space("darts", options={"channels": 8, "cells": 3})
    assert (space.variant, len(space.layer_names)) == ("c8-n3", 5)
    with pytest.raises(
        ValueError, match=r"'darts' has no option 'width'; its options: channels, cells, num_archs, max_mul"
    ):
        load_space("darts", options={"width": 8})
    with pytest.raises(ValueError, match=r"'nas-bench-101' has no option 'channels'; its options: none"):
        load_space("nas-bench-101", options={"channels": 8})


def test_load_space__and_load_images_give_the_same_errors():
    with pytest.raises(ValueError, match="no search space named 'darts201'"):
        load_space("darts201")
    with pytest.raises(ValueError, match=r"no data set named 'cifra10'\. Did you mean 'cifar10'"):
        load_examples("cifra10")


def test_load__finds_a_third_party_function(third_party):
    third_party("estimators", "mean", "numpy:mean")
    assert registry.load("estimators", "mean") is np.mean
    assert "mean" in registered("estimators")
    with pytest.raises(ValueError, match="Did you mean 'mean'"):
        registry.load("estimators", "meen")


def test_load__names_the_package_of_an_entry_point_that_cannot_be_imported(third_party):
    third_party("estimators", "broken", "no_such_package.scores:best")
    third_party("spaces", "typo", "numpy:no_such_name")
    with pytest.raises(
        ValueError, match=r"estimator 'broken' \(no_such_package\.scores:best\) cannot be imported: .*No module"
    ):
        registry.load("estimators", "broken")
    with pytest.raises(ValueError, match=r"search space 'typo' \(numpy:no_such_name\) cannot be imported: "):
        registry.load("spaces", "typo")


def test_load_space__refuses_an_object_that_is_no_space(third_party):
    third_party("spaces", "list", "builtins:str")  # str(None) has a length and no more
    with pytest.raises(ValueError, match=r"space 'list' does not implement the protocol .*SearchSpace"):
        load_space("list")
