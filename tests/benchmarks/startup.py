"""Seconds and modules that the program takes before it does anything: its help, its version, imports of the rooms.

Prints one JSON line. Every command runs in a process of its own, alternating with ``python -c pass``, and is given as a ratio to
it: a busy machine slows both. What takes the time shows ``python -X importtime -c "import sweetgrad.store"``.

    python tests/benchmarks/startup.py [--rounds 10]
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

RELEASE = Path(__file__).resolve().parents[2] / "docs" / "dataset" / "nas-bench-201-cifar10.zarr.zip"
PROGRAM = "import sys; from sweetgrad.flows.cli import main; sys.argv[0] = 'sweetgrad'; main()"
COMMANDS = {
    "help": [PROGRAM, "--help"],
    "version": [PROGRAM, "--version"],
    "profile --help": [PROGRAM, "profile", "--help"],
    "intervals": [PROGRAM, "intervals", str(RELEASE)],
    "import sweetgrad.store": ["import sweetgrad.store"],
    "import sweetgrad.analysis": ["import sweetgrad.analysis"],
    "import sweetgrad.flows": ["import sweetgrad.flows"],
}


def seconds(arguments: list[str]) -> float:
    """Wall seconds of one process."""
    start = time.monotonic()
    subprocess.run([sys.executable, "-c", *arguments], stdout=subprocess.DEVNULL, check=True)
    return time.monotonic() - start


def num_modules(arguments: list[str]) -> int:
    """Modules that are loaded when a process ends."""
    code, *rest = arguments
    count = f"import atexit, sys; atexit.register(lambda: print(len(sys.modules), file=sys.stderr)); {code}"
    shown = subprocess.run([sys.executable, "-c", count, *rest], capture_output=True, text=True, check=True)
    return int(shown.stderr)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=10)
    options = parser.parse_args()
    empty: list[float] = []
    values: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(options.rounds):
        for name, arguments in COMMANDS.items():
            empty.append(seconds(["pass"]))
            values[name].append(seconds(arguments))
    print(
        json.dumps(
            {
                "benchmark": "startup",
                "ratio": {name: round(median(times) / median(empty), 2) for name, times in values.items()},
                "modules": {name: num_modules(arguments) for name, arguments in COMMANDS.items()},
                "seconds_of_python": round(median(empty), 3),
                "rounds": options.rounds,
                "cores": os.cpu_count(),
            }
        )
    )


if __name__ == "__main__":
    main()
