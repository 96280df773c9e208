import itertools
from itertools import islice

import numpy as np
import pytest

from sweetgrad.analysis.search import SearchSettings, bohb
from sweetgrad.analysis.search.bohb import bandwidths, brackets, density, kernel_sample

SETTINGS = SearchSettings(num_runs=4, budget=700.0, seed=11)


def literal_density(cell, data, width, levels):
    products = []
    for row in data:
        product = 1.0
        for edge, op in enumerate(cell):
            product *= 1 - width[edge] if row[edge] == op else width[edge] / (levels - 1)
        products.append(product)
    return np.mean(products)  # not sum(): it rounds otherwise, and some ratios are equal but for that


def literal_width(data, levels, least):
    num, edges = len(data), len(data[0])
    rule = [1.06 * np.std([row[edge] for row in data]) * num ** (-1 / (4 + edges)) for edge in range(edges)]
    return [min(max(each, least), (levels - 1) / levels) for each in rule]


def literal_bohb(benchmark, run, *, scores=None, propose="random", pool=10):
    """One run with lists and loops."""
    operations = sorted({op for arch in benchmark.arch for op in arch.replace("~0", "").split("|") if op})
    cells = [[operations.index(op) for op in arch.replace("~0", "").strip("|").split("||")] for arch in benchmark.arch]
    levels, edges = len(operations), len(cells[0])
    random = np.random.RandomState([SETTINGS.seed, run])
    seen = {0: [], 1: [], 2: []}  # by rung of the tallest bracket: (loss, row) in order

    def proposals(num):
        for rung in (2, 1, 0):
            num_good, num_bad = max(edges + 1, 15 * len(seen[rung]) // 100), max(edges + 1, 85 * len(seen[rung]) // 100)
            if len(seen[rung]) - num_good >= edges + 1 and not (scores and propose == "random"):
                ranked = [cells[row] for _, row in sorted(seen[rung], key=lambda pair: pair[0])]
                good, bad = ranked[:num_good], ranked[num_good : num_good + num_bad]
                good_width, bad_width = literal_width(good, levels, 0.3), literal_width(bad, levels, 0.3)
                found = []
                for _ in range(num):
                    best, best_ratio = None, np.inf
                    for _ in range(4):
                        numbers = random_numbers.pop(0)
                        cell = list(good[int(numbers[0] * len(good))])
                        for edge in range(edges):
                            if numbers[1 + edge] < good_width[edge]:
                                others = [(cell[edge] + 1 + shift) % levels for shift in range(levels - 1)]
                                cell[edge] = others[int(numbers[1 + edges + edge] * len(others))]
                        ratio = literal_density(cell, bad, bad_width, levels) / literal_density(
                            cell, good, good_width, levels
                        )
                        if ratio < best_ratio:
                            best, best_ratio = cell, ratio
                    found.append(cells.index(best))
                return found
        return None

    history, spent = [], scores.setup_seconds if scores else 0.0
    for sizes in ([9, 3, 1], [3, 1], [3]) * 100:
        last = []
        for rung, size in enumerate(sizes):
            if rung:
                promoted = sorted(sorted(range(len(last)), key=lambda i: last[i][0])[:size])
                promoted = [last[i][1] for i in promoted]
            this = []
            for place in range(size):
                scoring = 0.0
                if rung:
                    row = promoted[place]
                else:
                    num = pool if scores else 1
                    state = random.get_state()
                    random_numbers = list(random.random_sample((num * 4, 1 + 2 * edges)))
                    candidates = proposals(num)
                    if candidates is None:
                        random.set_state(state)
                        candidates = [int(random.random_sample() * len(cells)) for _ in range(num)]
                    row = candidates[0]
                    if scores:
                        row, scoring = max(candidates, key=lambda c: scores.values[c]), scores.seconds[candidates].sum()
                spent += scoring + benchmark.seconds[row]
                if spent > SETTINGS.budget:
                    return history
                history.append((benchmark.arch[row], spent))
                this.append((100 - benchmark.fitness[row], row))
                seen[3 - len(sizes) + rung].append(this[-1])
            last = this
    raise AssertionError("the budget is too large for this test")


def test_bohb__is_the_literal_one(benchmark, trained):
    history = bohb(benchmark, SETTINGS)
    for run in range(SETTINGS.num_runs):
        expected = literal_bohb(benchmark, run)
        assert len(expected) > 40  # the model of the highest rung has taken over
        assert trained(history, benchmark, run) == expected


@pytest.mark.parametrize("propose", ["random", "model"])
@pytest.mark.parametrize(("seconds", "setup"), [(0.0, 0.0), (0.4, 25.0)])
def test_bohb__assisted_is_the_literal_one(benchmark, make_scores, trained, propose, seconds, setup):
    scores = make_scores(benchmark, seconds=seconds, setup=setup)
    history = bohb(benchmark, SETTINGS, scores=scores, propose=propose, pool=3)
    for run in range(SETTINGS.num_runs):
        expected = literal_bohb(benchmark, run, scores=scores, propose=propose, pool=3)
        assert trained(history, benchmark, run) == expected


def test_bohb__released_and_honest_assistance_differ_once_there_is_a_model(benchmark, make_scores):
    scores = make_scores(benchmark)
    released, honest = (bohb(benchmark, SETTINGS, scores=scores, propose=each) for each in ("random", "model"))
    np.testing.assert_array_equal(released.arch_index[:, :8], honest.arch_index[:, :8])
    assert not released.equals(honest)


def test_bohb__refuses_another_proposal(benchmark):
    with pytest.raises(ValueError, match="propose must be 'random' or 'model', got 'kde'"):
        bohb(benchmark, SETTINGS, propose="kde")


def test_brackets__are_those_of_hyperband():
    # Li et al. 2018, Table 1: eta 3, at most 81 epochs (their first bracket), and the smaller ones that follow.
    assert next(brackets(3, 5)) == [81, 27, 9, 3, 1]
    assert list(islice(brackets(3, 3), 6)) == [[9, 3, 1], [3, 1], [3]] * 2


@pytest.fixture
def data():
    return np.random.RandomState(2).randint(0, 4, (2, 9, 3))


def test_density__is_the_literal_one_and_sums_to_one(data):
    width = bandwidths(data, levels=4, least=0.1)
    every = np.array(list(itertools.product(range(4), repeat=3)))
    found = density(np.broadcast_to(every, (2, 64, 3)), data, width, levels=4)
    assert found.sum(axis=1) == pytest.approx([1, 1])
    for run in range(2):
        assert width[run] == pytest.approx(literal_width(data[run], 4, 0.1))
        assert found[run] == pytest.approx([literal_density(cell, data[run], width[run], 4) for cell in every])


def test_bandwidths__stay_between_the_least_and_uniform():
    same = np.zeros((1, 8, 2), dtype=int)
    wide = np.array([[[0, 4], [4, 0]] * 4])
    assert bandwidths(same, levels=5, least=0.3).tolist() == [[0.3, 0.3]]
    assert bandwidths(wide, levels=5, least=0.3).tolist() == [[0.8, 0.8]]


def test_kernel_sample__follows_the_density(data):
    width = np.array([[0.3, 0.5, 0.75]] * 2)
    drawn = np.random.RandomState(0).random_sample((2, 40_000, 7))
    samples = kernel_sample(data, width, drawn, levels=4)
    every = np.array(list(itertools.product(range(4), repeat=3)))
    expected = density(np.broadcast_to(every, (2, 64, 3)), data, width, levels=4)
    for run in range(2):
        share = np.bincount(samples[run] @ [16, 4, 1], minlength=64) / 40_000
        assert np.abs(share - expected[run]).max() < 4 * (0.05 / 40_000) ** 0.5
