"""What a question costs that is asked of a full-size store behind a web server; prints one JSON line.

``python tests/benchmarks/transfer.py [--folder DIR] [--no-nginx]``. The server counts its requests and bytes (heads included):
of opening a profile; of the best interval of a new split over 100 architectures, with the scores of all 15,625; both for the
store as a folder (``http://``) and as one zip (``zip::http://``). Goal: under 8 MB each.
"""

import argparse
import importlib.util
import json
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import ModuleType
from typing import Any


def main() -> None:
    """Make the store once, serve it, ask; each question in a fresh process."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, help="where to keep the store (default: in the temporary directory)")
    parser.add_argument("--no-nginx", action="store_true", help="serve with the small server of the tests")
    parser.add_argument("--ask", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.ask:
        print(json.dumps(ask(options.ask)))
        return
    folder = options.folder or Path(tempfile.gettempdir()) / "sweetgrad-reanalysis-x1"
    make(folder)
    servers = load_servers()
    with_nginx = servers.NGINX is not None and not options.no_nginx
    with tempfile.TemporaryDirectory() as prefix:
        server = servers.nginx(folder, Path(prefix)) if with_nginx else servers.range_server(folder)
        with server as served:
            results = {}
            for place in (f"{served.url}/store.zarr", f"zip::{served.url}/store.zarr.zip"):
                before = served.requests()
                command = [sys.executable, __file__, "--ask", place]
                answer = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
                asked = served.requests()[len(before) :]
                opening, question = asked[: answer["mark"]], asked[answer["mark"] :]
                results["zip" if place.startswith("zip") else "folder"] = {
                    **summary("open", opening),
                    **summary("question", question),
                    "total_mb": round(sum(request["bytes"] for request in asked) / 1e6, 3),
                    "answer": answer["answer"],
                }
    print(
        json.dumps({**results, "server": "nginx" if with_nginx else "python", "size_mb": round(size(folder) / 1e6, 1)})
    )


def summary(name: str, requests: list[dict[str, Any]]) -> dict[str, float]:
    """Requests and MB of one step."""
    return {f"{name}_requests": len(requests), f"{name}_mb": round(sum(each["bytes"] for each in requests) / 1e6, 3)}


def ask(place: str) -> dict[str, object]:
    """The usual question; also the number of requests that opening took, as this process sees it."""
    from zarr.storage import FsspecStore

    from sweetgrad.analysis import IntervalGrid, best_interval, score
    from sweetgrad.store import list_profiles, open_profile

    count = [0]

    def counted(method: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def call(*arguments: Any, **options: Any) -> Any:
            count[0] += 1
            return await method(*arguments, **options)

        return call

    for name in ("get", "getsize"):
        setattr(FsspecStore, name, counted(getattr(FsspecStore, name)))
    profile = open_profile(place, list_profiles(place)[0], chunks=None)
    mark = count[0]
    best = best_interval(profile, IntervalGrid(split=7))
    scores = score(profile, best).values
    return {"mark": mark, "answer": f"{best}; {scores.size} scores, mean {scores.mean():.0f}"}


def make(folder: Path) -> None:
    """The synthetic store, and the same as one zip."""
    if not (folder / "accuracy.npz").exists():
        folder.mkdir(parents=True, exist_ok=True)
        maker = Path(__file__).with_name("_synthetic_store.py")
        subprocess.run([sys.executable, str(maker), str(folder)], check=True)
    store, packed = folder / "store.zarr", folder / "store.zarr.zip"
    if not packed.exists():
        with zipfile.ZipFile(packed, "w") as archive:
            for path in sorted(path for path in store.rglob("*") if path.is_file()):
                archive.write(path, path.relative_to(store).as_posix())


def size(folder: Path) -> int:
    """Bytes of the store."""
    return sum(path.stat().st_size for path in (folder / "store.zarr").rglob("*") if path.is_file())


def load_servers() -> ModuleType:
    """The servers of the tests."""
    path = Path(__file__).parents[1] / "remote" / "_servers.py"
    spec = importlib.util.spec_from_file_location("servers", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["servers"] = module
    spec.loader.exec_module(module)
    return module


if __name__ == "__main__":
    main()
