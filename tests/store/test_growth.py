"""A profile of an endless list of architectures gets rows at its end."""

import numpy as np
import pytest

from sweetgrad.store import (
    COUNTS,
    Profile,
    SpecMismatchError,
    create_profile,
    creation,
    open_estimators,
    open_profile,
    profile_block,
    stored_archs,
    verify,
)

ENDLESS = [f"|op{i}~0|" for i in range(40)]
LAYERS = ["stem", "cell1", "head"]


def create(location, toy, num_archs, *, archs=ENDLESS, **changes):
    spec = toy.spec(arch=archs[:num_archs], **changes)
    return create_profile(location, spec, arch=archs[:num_archs], layers=LAYERS, shard_size=4, may_grow=True).name


def fill(location, toy, name, rows):
    for shard in Profile.open(location, name).plan(rows):
        Profile.open(location, name).write(shard, {COUNTS: toy.rows(shard.rows, archs=ENDLESS)})
    Profile.open(location, name).finalise()


@pytest.mark.parametrize("num_after", [7, 8, 11, 40])
def test_create_profile__grows_at_its_end_and_keeps_what_is_there(tmp_path, toy, num_after):
    name = create(tmp_path / "s", toy, 6)
    Profile.open(tmp_path / "s", name).add_blocks([profile_block("snip")])
    fill(tmp_path / "s", toy, name, [0, 3, 5])
    before = open_profile(tmp_path / "s", name).load()
    assert create(tmp_path / "s", toy, num_after) == name
    grown = open_profile(tmp_path / "s", name).load()
    assert grown.arch.values.tolist() == ENDLESS[:num_after]
    assert grown.isel(arch=slice(6)).identical(before.assign_attrs(grown.attrs))
    assert not grown.status[6:].any()
    assert open_estimators(tmp_path / "s", name).sizes["arch"] == num_after
    fill(tmp_path / "s", toy, name, range(num_after))
    assert verify(tmp_path / "s") == []
    assert open_profile(tmp_path / "s", name).attrs["complete"]


def test_create_profile__a_grown_profile_is_the_one_made_at_once(tmp_path, toy):
    name = create(tmp_path / "grown", toy, 3)
    fill(tmp_path / "grown", toy, name, range(3))
    create(tmp_path / "grown", toy, 10)
    fill(tmp_path / "grown", toy, name, range(10))
    fill(tmp_path / "whole", toy, create(tmp_path / "whole", toy, 10), range(10))
    a, b = (open_profile(tmp_path / each, name) for each in ("grown", "whole"))
    assert a.attrs["content_digest"] == b.attrs["content_digest"]
    assert a.attrs["spec"] == b.attrs["spec"]


def test_create_profile__takes_a_shorter_list_as_it_is(tmp_path, toy):
    name = create(tmp_path / "s", toy, 10)
    create(tmp_path / "s", toy, 4)
    assert open_profile(tmp_path / "s", name).sizes["arch"] == 10


def test_create_profile__another_list_is_refused(tmp_path, toy):
    create(tmp_path / "s", toy, 6)
    other = [*ENDLESS[:3], "|else~0|", *ENDLESS[4:]]
    with pytest.raises(SpecMismatchError, match="arch_sha256"):
        create(tmp_path / "s", toy, 10, archs=other)
    with pytest.raises(SpecMismatchError, match="num_classes"):
        create(tmp_path / "s", toy, 10, num_classes=11)


def test_create_profile__a_profile_of_a_fixed_list_does_not_grow(tmp_path, toy):
    create(tmp_path / "s", toy, 6)
    with pytest.raises(SpecMismatchError, match="arch_sha256"):
        create_profile(tmp_path / "s", toy.spec(arch=ENDLESS[:8]), arch=ENDLESS[:8], layers=LAYERS)


@pytest.mark.parametrize("step", ["_lengthen", "write_archs"])
@pytest.mark.parametrize("nth", [1, 2])
def test_create_profile__growth_that_was_cut_off_is_done_again(tmp_path, toy, monkeypatch, step, nth):
    name = create(tmp_path / "s", toy, 6)
    fill(tmp_path / "s", toy, name, range(6))
    calls, real = [], getattr(creation, step)

    def cut_off(*args, **kwargs):
        calls.append(step)
        if len(calls) == nth:
            raise KeyboardInterrupt
        return real(*args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(creation, step, cut_off)
        try:
            create(tmp_path / "s", toy, 10)
        except KeyboardInterrupt:
            pass
        else:
            assert (step, nth) == ("write_archs", 2)
    named = stored_archs(tmp_path / "s", name)
    assert named in (ENDLESS[:6], ENDLESS[:10])
    create(tmp_path / "s", toy, len(named))
    assert open_profile(tmp_path / "s", name).sizes["arch"] == len(named)
    create(tmp_path / "s", toy, 10)
    fill(tmp_path / "s", toy, name, range(10))
    assert verify(tmp_path / "s") == []
    assert np.all(open_profile(tmp_path / "s", name).status == 1)
