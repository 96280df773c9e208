"""How long 500 runs of every search and every selection take from a table and scores in memory; prints one JSON line.

``python tests/benchmarks/search.py --table nas-bench-201.csv.gz [--runs 500]``. Goal: under 120 s on two cores. The
scores are the numbers of parameters, with and without a cost of 0.33 s each.
"""

import argparse
import json
import time
from pathlib import Path


def main() -> None:
    """Run each algorithm by itself, then all of the selections."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--table", type=Path, required=True, help="accuracies of NAS-Bench-201, as `accuracy import` takes them"
    )
    parser.add_argument("--runs", type=int, default=500)
    options = parser.parse_args()

    import numpy as np

    from sweetgrad.analysis.search import (
        ALGORITHMS,
        Scores,
        SearchSettings,
        run_searches,
        run_selections,
        search_benchmark,
        search_table,
        trajectories,
    )
    from sweetgrad.profiling.spaces.nas_bench_201 import num_params
    from sweetgrad.store import read_accuracy_file

    rows = read_accuracy_file(options.table, space="nas-bench-201")
    keyed = rows.set_index(["arch", "dataset", "split", "epochs"])[["accuracy", "seconds"]].to_xarray()
    benchmark = search_benchmark(keyed.rename(seconds="train_seconds"))
    values = np.array([float(num_params(arch)) for arch in benchmark.arch])
    scores = [Scores("params", values, np.full(len(benchmark), cost), 100 * cost) for cost in (0.0, 0.33)]
    settings = SearchSettings(num_runs=options.runs)
    seconds, started = {}, time.perf_counter()
    for name in ALGORITHMS:
        before = time.perf_counter()
        found = run_searches(benchmark, settings, scores=scores, algorithms=[name])
        search_table(found, benchmark)
        trajectories(found, benchmark)
        seconds[name] = round(time.perf_counter() - before, 2)
    before = time.perf_counter()
    search_table(run_selections(benchmark, scores=scores[:1], num_runs=options.runs), benchmark)
    seconds["selections"] = round(time.perf_counter() - before, 2)
    total, cpu = round(time.perf_counter() - started, 2), round(time.process_time(), 2)
    print(json.dumps({"total_seconds": total, "cpu_seconds": cpu, "num_runs": options.runs, "seconds": seconds}))


if __name__ == "__main__":
    main()
