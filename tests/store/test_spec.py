import json
from dataclasses import fields

import pytest

from sweetgrad.store import ProfileSpec, SpecMismatchError


def test_profile_name__holds_space_dataset_batch_and_seed(toy):
    assert toy.spec(batch_size=64, seed=42).profile_name == "toy/synthetic/bs64-seed42"
    assert toy.spec(variant="bias", augment=True).profile_name == "toy/synthetic/bs2-seed0-bias-augment"


def test_to_attrs__survives_json(toy):
    spec = toy.spec()
    assert ProfileSpec.from_attrs(json.loads(json.dumps(spec.to_attrs()))) == spec


def test_to_attrs__options_of_the_space_are_there_if_it_has_any(toy):
    assert "space_options" not in toy.spec().to_attrs()
    spec = toy.spec(space_options={"channels": 16, "max_multiply_adds": 6e8})
    assert ProfileSpec.from_attrs(json.loads(json.dumps(spec.to_attrs()))) == spec


def test_to_attrs__the_version_of_the_space_is_there_if_it_is_not_the_first(toy):
    assert "space_version" not in toy.spec().to_attrs()
    assert ProfileSpec.from_attrs(toy.spec().to_attrs()).space_version == 1
    spec = toy.spec(space_version=2)
    assert ProfileSpec.from_attrs(json.loads(json.dumps(spec.to_attrs()))) == spec


def test_require_equal__says_what_another_version_of_the_space_means(toy):
    with pytest.raises(
        SpecMismatchError, match=r"(?s)space_version: stored 1, requested 2\n.*must not be mixed.*another store"
    ):
        toy.spec(space_version=2).require_equal(toy.spec(), where="the profile")


def test_from_attrs__refuses_fields_that_it_does_not_know(toy):
    with pytest.raises(TypeError, match="gravity"):
        ProfileSpec.from_attrs({**toy.spec().to_attrs(), "gravity": 9.81})


def test_require_equal__is_silent_for_equal_specs(toy):
    assert toy.spec().differences(toy.spec()) == {}
    assert toy.spec().require_equal(toy.spec(), where="here") is None


@pytest.mark.parametrize("field", [f.name for f in fields(ProfileSpec)])
def test_require_equal__names_any_field_that_differs_with_both_values(toy, field):
    old = getattr(toy.spec(), field)
    change = {bool: lambda v: not v, int: lambda v: v + 1, str: lambda v: v + "x", tuple: lambda v: (*v[:2], 99)}
    change[dict] = lambda v: {**v, "channels": 16}
    new = change[type(old)](old)
    with pytest.raises(SpecMismatchError) as raised:
        toy.spec(**{field: new}).require_equal(toy.spec(), where="the profile")
    message = str(raised.value)
    as_json = [json.dumps(list(v) if isinstance(v, tuple) else v) for v in (old, new)]
    assert f"  {field}: stored {as_json[0]}, requested {as_json[1]}\n" in message
    assert message.count("stored ") == 1 + (field != "space_version")  # the line of the field, and the advice


def test_require_equal__names_all_fields_at_once(toy):
    with pytest.raises(SpecMismatchError, match=r"(?s)num_classes.*device"):
        toy.spec(num_classes=100, device="cuda").require_equal(toy.spec(), where="the profile")
