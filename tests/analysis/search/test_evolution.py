from collections import deque

import numpy as np
import pytest

from sweetgrad.analysis.search import SearchSettings, evolution, random_search

SETTINGS = SearchSettings(num_runs=5, budget=400.0, seed=3)


def literal_evolution(benchmark, run, *, scores=None, pool=10, population=10, tournament=3):
    """One run with strings, a queue and a plain loop: pairs (architecture, time)."""
    operations = sorted({op for arch in benchmark.arch for op in arch.replace("~0", "").split("|") if op})
    cost = dict(zip(benchmark.arch, benchmark.seconds, strict=True))
    accuracy = dict(zip(benchmark.arch, benchmark.fitness, strict=True))
    random = np.random.RandomState([SETTINGS.seed, run])
    alive, history = deque(), []
    spent = scores.setup_seconds if scores else 0.0
    while True:
        scoring = 0.0
        if len(history) < population:
            child = benchmark.arch[int(random.random_sample() * len(benchmark))]
        else:
            num = pool if scores else 1
            numbers = random.random_sample(tournament + 2 * num)
            parent = max([alive[int(u * population)] for u in numbers[:tournament]], key=accuracy.get)
            mutants = []
            for i in range(num):
                cell = parent.replace("~0", "").strip("|").split("||")
                edge = int(numbers[tournament + i] * len(cell))
                place = operations.index(cell[edge])
                others = operations[place + 1 :] + operations[:place]
                cell[edge] = others[int(numbers[tournament + num + i] * len(others))]
                mutants.append("".join(f"|{op}~0|" for op in cell))
            child = mutants[0]
            if scores:
                rows = [benchmark.arch.index(mutant) for mutant in mutants]
                child = max(mutants, key=lambda mutant: scores.values[benchmark.arch.index(mutant)])
                scoring = sum(scores.seconds[row] for row in rows)
        spent += scoring + cost[child]
        if spent > SETTINGS.budget:
            return history
        history.append((child, spent))
        alive.append(child)
        if len(alive) > population:
            alive.popleft()


@pytest.mark.parametrize("population", [3, 10])
def test_evolution__is_the_literal_one(benchmark, trained, population):
    history = evolution(benchmark, SETTINGS, population=population)
    for run in range(SETTINGS.num_runs):
        expected = literal_evolution(benchmark, run, population=population)
        assert len(expected) > 25
        assert trained(history, benchmark, run) == expected


@pytest.mark.parametrize(("seconds", "setup"), [(0.0, 0.0), (0.7, 31.0)])
def test_evolution__assisted_is_the_literal_one(benchmark, make_scores, trained, seconds, setup):
    scores = make_scores(benchmark, seconds=seconds, setup=setup)
    history = evolution(benchmark, SETTINGS, scores=scores, pool=4)
    for run in range(SETTINGS.num_runs):
        expected = literal_evolution(benchmark, run, scores=scores, pool=4)
        assert trained(history, benchmark, run) == expected


def test_evolution__first_population_is_unassisted(benchmark, make_scores):
    plain = random_search(benchmark, SETTINGS)
    assisted = evolution(benchmark, SETTINGS, scores=make_scores(benchmark))
    np.testing.assert_array_equal(plain.arch_index[:, :10], assisted.arch_index[:, :10])


def test_random_search__spends_the_budget_and_no_more(benchmark, trained):
    history = random_search(benchmark, SETTINGS)
    cost = dict(zip(benchmark.arch, benchmark.seconds, strict=True))
    for run in range(SETTINGS.num_runs):
        random = np.random.RandomState([SETTINGS.seed, run])
        drawn = [benchmark.arch[int(random.random_sample() * len(benchmark))] for _ in range(100)]
        ends = np.cumsum([cost[arch] for arch in drawn])
        expected = [pair for pair in zip(drawn, ends, strict=True) if pair[1] <= SETTINGS.budget]
        assert trained(history, benchmark, run) == expected


def test_evolution__a_run_does_not_depend_on_the_others(benchmark, make_scores):
    few = evolution(benchmark, SearchSettings(2, 400.0, 3), scores=make_scores(benchmark))
    many = evolution(benchmark, SETTINGS, scores=make_scores(benchmark)).isel(run=slice(2))
    assert few.dropna("step", how="all").equals(many.dropna("step", how="all"))


def test_evolution_on_nas_bench_201__is_that_of_the_paper(nas_bench_201):
    """Yang et al. 2023: REA 91.08 / 93.85, over 500 runs of 12,000 s."""
    history = evolution(nas_bench_201)
    rows = history.arch_index.values
    fitness = np.where(rows >= 0, nas_bench_201.fitness[rows], 0)
    found = rows[np.arange(500), fitness.argmax(axis=1)]
    valid, test = (
        nas_bench_201.accuracy.sel(dataset="cifar10", split=split).values[found] for split in ("valid", "test")
    )
    # Four standard errors of the difference of two means of 500.
    assert valid.mean() == pytest.approx(91.08, abs=4 * (2 / 500) ** 0.5 * valid.std())
    assert test.mean() == pytest.approx(93.85, abs=4 * (2 / 500) ** 0.5 * test.std())
