import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweetgrad.flows import select_archs


def test_select_archs__understands_every_form():
    # Ranges, not lists: a million architectures take no memory.
    assert select_archs("all", num_archs=3) == range(3)
    assert select_archs("1:3", num_archs=5) == range(1, 3)
    assert select_archs(":2", num_archs=5) == range(2)
    assert select_archs("3:", num_archs=5) == range(3, 5)
    assert select_archs("4", num_archs=5) == range(4, 5)


@given(st.integers(1, 200), st.data())
def test_select_archs__a_smaller_sample_is_part_of_a_larger_one(num_archs, data):
    large = data.draw(st.integers(1, num_archs))
    small = data.draw(st.integers(1, large))
    big = select_archs(f"sample:{large}", num_archs=num_archs)
    assert len(set(big)) == large
    assert big == sorted(big)
    assert big[0] >= 0
    assert big[-1] < num_archs
    assert set(select_archs(f"sample:{small}", num_archs=num_archs)) <= set(big)


@pytest.mark.parametrize(
    ("selection", "message"),
    [
        ("0:11", "a range of architectures must lie in 0:10 and not be empty, got 0:11"),
        ("4:4", "not be empty, got 4:4"),
        ("sample:11", "a sample must have 1 to 10 architectures .* got 11"),
        ("sample:0", "got 0"),
        ("10", "numbered 0 to 9, got 10"),
        ("first", "expected all, START:STOP, sample:N or one index as the architectures, got 'first'"),
        ("-3", "expected all"),
    ],
)
def test_select_archs__says_what_is_wrong(selection, message):
    with pytest.raises(ValueError, match=message):
        select_archs(selection, num_archs=10)
