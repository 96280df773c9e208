import numpy as np
import pytest
import torch

from sweetgrad.analysis.search import SearchSettings, reinforce
from sweetgrad.analysis.search.reinforce import policy_gradient, sample, softmax

SETTINGS = SearchSettings(num_runs=3, budget=300.0, seed=5)


def literal_reinforce(benchmark, run, *, scores=None, pool=10, learning_rate=0.5):
    """One run with torch's softmax, automatic differentiation and Adam."""
    operations = sorted({op for arch in benchmark.arch for op in arch.replace("~0", "").split("|") if op})
    cells = [arch.replace("~0", "").strip("|").split("||") for arch in benchmark.arch]
    random = np.random.RandomState([SETTINGS.seed, run])
    logits = torch.zeros(len(cells[0]), len(operations), dtype=torch.float64, requires_grad=True)
    adam = torch.optim.Adam([logits], lr=learning_rate)
    history, above, below = [], 0.0, 0.0
    spent = scores.setup_seconds if scores else 0.0
    while True:
        log = torch.log_softmax(logits, dim=1)
        numbers = random.random_sample(len(logits) + (2 * pool if scores else 0))
        chosen = []
        for edge in range(len(logits)):
            cumulative = np.cumsum(np.exp(log[edge].detach().numpy()))
            chosen.append(
                next((op for op, upto in enumerate(cumulative[:-1]) if numbers[edge] < upto), len(operations) - 1)
            )
        sampled = [operations[op] for op in chosen]
        trained, scoring = cells.index(sampled), 0.0
        if scores:
            mutants = []
            for edge_number, op_number in zip(numbers[len(logits) : len(logits) + pool], numbers[-pool:], strict=True):
                edge, mutant = int(edge_number * len(logits)), list(sampled)
                others = operations[chosen[edge] + 1 :] + operations[: chosen[edge]]
                mutant[edge] = others[int(op_number * len(others))]
                mutants.append(cells.index(mutant))
            trained, scoring = max(mutants, key=lambda row: scores.values[row]), scores.seconds[mutants].sum()
        spent += scoring + benchmark.seconds[trained]
        if spent > SETTINGS.budget:
            return history
        history.append((benchmark.arch[trained], spent))
        reward = benchmark.fitness[trained]
        above, below = 0.9 * above + 0.1 * reward, 0.9 * below + 0.1
        loss = -sum(log[edge, op] for edge, op in enumerate(chosen)) * (reward - above / below)
        adam.zero_grad()
        loss.backward()
        adam.step()


@pytest.mark.parametrize("learning_rate", [0.5, 0.05])
def test_reinforce__is_that_of_torch(benchmark, trained, learning_rate):
    history = reinforce(benchmark, SETTINGS, learning_rate=learning_rate)
    expected = [literal_reinforce(benchmark, run, learning_rate=learning_rate) for run in range(SETTINGS.num_runs)]
    assert len({arch for run in expected for arch, _ in run}) > 10
    for run in range(SETTINGS.num_runs):
        assert trained(history, benchmark, run) == expected[run]


def test_reinforce__assisted_is_that_of_torch(benchmark, make_scores, trained):
    scores = make_scores(benchmark, seconds=0.3, setup=20.0)
    history = reinforce(benchmark, SETTINGS, scores=scores, pool=5)
    for run in range(SETTINGS.num_runs):
        assert trained(history, benchmark, run) == literal_reinforce(benchmark, run, scores=scores, pool=5)


def test_policy_gradient__descending_makes_a_good_sample_likelier():
    policy, sampled = softmax(np.zeros((2, 3, 4))), np.array([[0, 1, 2], [3, 3, 3]])
    stepped = softmax(-0.1 * policy_gradient(policy, sampled, np.array([2.0, -2.0])))
    likely = np.take_along_axis(stepped, sampled[:, :, None], axis=2)
    assert (likely[0] > 0.25).all()
    assert (likely[1] < 0.25).all()


def test_sample__follows_the_policy():
    policy = np.broadcast_to([[0.1, 0.0, 0.6, 0.3]], (1, 1, 4)).repeat(4000, axis=0)
    drawn = np.random.RandomState(0).random_sample((4000, 1))
    share = np.bincount(sample(policy, drawn)[:, 0], minlength=4) / 4000
    assert share == pytest.approx([0.1, 0.0, 0.6, 0.3], abs=0.03)
    assert sample(policy[:1], np.array([[1 - 1e-16]])).item() == 3


def test_reinforce_on_nas_bench_201__is_that_of_the_paper(nas_bench_201):
    """Yang et al. 2023: REINFORCE 90.32 / 93.21."""
    rows = reinforce(nas_bench_201).arch_index.values
    found = rows[np.arange(500), np.where(rows >= 0, nas_bench_201.fitness[rows], 0).argmax(axis=1)]
    for split, paper in (("valid", 90.32), ("test", 93.21)):
        values = nas_bench_201.accuracy.sel(dataset="cifar10", split=split).values[found]
        assert values.mean() == pytest.approx(paper, abs=4 * (2 / 500) ** 0.5 * values.std())
