import subprocess
import sys
from pathlib import Path

RELEASE = Path(__file__).resolve().parents[2] / "docs" / "dataset" / "nas-bench-201-cifar10.zarr.zip"

PROGRAM = """
import sys

BLOCKED = {"torch", "prefect", "distributed", "sklearn"}

class Block:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in BLOCKED:
            raise ImportError(f"{name} is blocked")

sys.meta_path.insert(0, Block())
import sweetgrad.store
import sweetgrad.analysis as analysis
import sweetgrad.analysis.search

heavy = {"matplotlib", "scipy.stats", "dask.array"} & set(sys.modules)
assert not heavy, f"imported too early: {heavy}"

rows = sweetgrad.store.empty_rows(["a", "b"], [0, 1], layers=["c1", "c2"])
rows.status[:] = 1
rows.layer_type[:] = 2
rows.grad_count[:, 1, 0, 50] = 1
rows.num_params[:, :, 0] = 1
print(analysis.best_interval(rows, bootstrap=10).sweetness, rows.pipe(analysis.score, (0, 1)).sum().item())
"""


def test_analysis__works_without_torch_and_prefect() -> None:
    result = subprocess.run([sys.executable, "-W", "error", "-c", PROGRAM], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert result.stdout.split() == ["1.0", "0.0"]


LIGHT = """
import sys
import sweetgrad.analysis as analysis

unwanted = [f"sweetgrad.analysis.{name}" for name in ("figures", "findings", "report", "reproduction", "search")]
unwanted += ["matplotlib", "scipy.stats", "dask.array", "distributed"]
loaded = sorted(name for name in unwanted if name in sys.modules)
assert not loaded, f"loaded by import sweetgrad.analysis: {loaded}"

from sweetgrad.store import open_profile

profile = open_profile(sys.argv[1], "nas-bench-201/cifar10/bs64-seed42", chunks=None)
print(analysis.best_interval(profile, bootstrap=10).interval)
unwanted.remove("dask.array")  # xarray loads it, to tell what a variable holds
loaded = sorted(name for name in unwanted if name in sys.modules)
assert not loaded, f"loaded by best_interval: {loaded}"
"""


def test_analysis__loads_only_what_the_best_interval_needs() -> None:
    command = [sys.executable, "-c", LIGHT, str(RELEASE)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert result.stdout == "[1e-4, 5e-4)\n"


def test_analysis__lists_its_public_names_sorted() -> None:
    import sweetgrad.analysis as analysis
    import sweetgrad.analysis.search as search

    for module in (analysis, search):
        assert sorted(module.__all__) == module.__all__
        assert all(hasattr(module, name) for name in module.__all__)
