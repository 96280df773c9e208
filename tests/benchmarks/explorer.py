"""The explorer of the published data set: size of the page, time until it can be used, time of a step; prints one JSON line.

``python tests/benchmarks/explorer.py [--store PATH] [--steps 100]``; it needs Chromium. Goals: at most 14 MB, 2 s, and 50 ms
a step (median).
"""

import argparse
import importlib.util
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

from sweetgrad.analysis.explorer import explore

ROOT = Path(__file__).resolve().parents[2]
STORE = ROOT / "docs" / "dataset" / "nas-bench-201-cifar10.zarr.zip"

STEPS = """(async () => {
  await sweetgrad.ready;
  while (!sweetgrad.heatmap().done) await new Promise((resolve) => setTimeout(resolve, 50));
  const stops = CONTENT.stops.slice(100, 300).map(({ text }) => text), times = [];
  for (let step = 0; step < %d; step++) {
    const start = performance.now();
    sweetgrad.setInterval(stops[step %% 90], "1e-2");
    times.push(performance.now() - start);
    await new Promise(requestAnimationFrame);
  }
  times.sort((a, b) => a - b);
  return [times[times.length >> 1], times[Math.floor(times.length * 0.9)], sweetgrad.readyAfter];
})()"""


def main() -> None:
    """Write the page, open it in a fresh browser, and move a threshold step by step."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--store", default=str(STORE))
    parser.add_argument("--steps", type=int, default=100)
    options = parser.parse_args()
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        page = explore(options.store, Path(folder) / "explorer.html")
        seconds = time.perf_counter() - start
        with _browser_module().browser(Path(folder) / "chromium") as tab:
            tab.look(page, width=1280)
            median, tenth, ready = tab.evaluate(STEPS % options.steps)
        facts = {
            "page_megabytes": round(page.stat().st_size / 1e6, 2),
            "write_seconds": round(seconds, 1),
            "usable_after_ms": round(ready),
            "step_ms": round(median, 1),
            "step_ms_90_percent": round(tenth, 1),
            "load_before": round(load, 1),
        }
    print(json.dumps(facts))


def _browser_module() -> Any:
    spec = importlib.util.spec_from_file_location("_browser", ROOT / "tests" / "analysis" / "report" / "_browser.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


if __name__ == "__main__":
    main()
