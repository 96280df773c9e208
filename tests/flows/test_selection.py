import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweetgrad.flows import select_archs
from sweetgrad.profiling import load_space
from sweetgrad.store.spaces.cells import cell_class
from sweetgrad.store.spaces.graphs import graph_hash

NAMES = [f"arch{i}" for i in range(200)]


def test_select_archs__understands_every_form():
    # Ranges, not lists: a million architectures take no memory.
    assert select_archs("all", NAMES[:3], space="mine") == range(3)
    assert select_archs("1:3", NAMES[:5], space="mine") == range(1, 3)
    assert select_archs(":2", NAMES[:5], space="mine") == range(2)
    assert select_archs("3:", NAMES[:5], space="mine") == range(3, 5)
    assert select_archs("4", NAMES[:5], space="mine") == range(4, 5)


@given(st.integers(1, 200), st.data())
def test_select_archs__a_smaller_sample_is_part_of_a_larger_one(num_archs, data):
    large = data.draw(st.integers(1, num_archs))
    small = data.draw(st.integers(1, large))
    big = select_archs(f"sample:{large}", NAMES[:num_archs], space="mine")
    assert len(set(big)) == large
    assert big == sorted(big)
    assert big[0] >= 0
    assert big[-1] < num_archs
    assert set(select_archs(f"sample:{small}", NAMES[:num_archs], space="mine")) <= set(big)


@pytest.mark.parametrize(
    ("selection", "message"),
    [
        ("0:11", "a range of architectures must lie in 0:10 and not be empty, got 0:11"),
        ("4:4", "not be empty, got 4:4"),
        ("sample:11", "a sample must have 1 to 10 architectures .* got 11"),
        ("sample:0", "got 0"),
        ("10", "numbered 0 to 9, got 10"),
        (
            "first",
            "expected all, START:STOP, sample:N, unique, @FILE, an index or an architecture of mine, "
            "got 'first'.*not among the 10",
        ),
        ("-3", "expected all"),
        ("unique", "mine has no classes of architectures"),
    ],
)
def test_select_archs__says_what_is_wrong(selection, message):
    with pytest.raises(ValueError, match=message):
        select_archs(selection, NAMES[:10], space="mine")


def test_select_archs__finds_one_by_its_string():
    assert select_archs("arch7", NAMES, space="mine") == range(7, 8)
    graphs = ["101:conv3x3", "100101:conv3x3;conv1x1"]
    assert select_archs("100101:conv3x3;conv1x1", graphs, space="nas-bench-101") == range(1, 2)
    assert select_archs(graph_hash("101:conv3x3"), graphs, space="nas-bench-101") == range(1)
    with pytest.raises(ValueError, match="no graph with the hash"):
        select_archs("0" * 32, graphs, space="nas-bench-101")
    with pytest.raises(ValueError, match=r"expected all.*unknown operation 'conv'"):
        select_archs("|conv~0|+|none~0|none~1|+|none~0|none~1|none~2|", graphs, space="nas-bench-201")


def test_select_archs__unique_takes_the_first_of_every_class():
    """6,466 in NAS-Bench-201, as the benchmark counts (Dong & Yang 2020)."""
    space = load_space("nas-bench-201")
    archs = [space.arch_id(index) for index in range(len(space))]
    chosen = select_archs("unique", archs, space="nas-bench-201")
    assert len(chosen) == 6466
    assert list(chosen) == sorted(chosen)
    classes = [cell_class(arch) for arch in archs]
    assert [classes[index] for index in chosen] == list(dict.fromkeys(classes))
