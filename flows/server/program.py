"""The process of the Prefect server of a run, started by `sweetgrad.flows.server.ephemeral` with the number of a socket.

It serves on a socket that it inherits, and ends when its standard input closes, which happens however its parent ends.
"""

import os
import shutil
import sys
import threading
from pathlib import Path

from sweetgrad.flows.server.prefect_private import APP, make_tables

__all__: list[str] = []


def main() -> None:
    """Create the tables of its database, and serve until standard input closes."""
    home = Path(os.environ["PREFECT_HOME"])
    threading.Thread(target=_end_with_parent, args=(home,), daemon=True).start()
    make_tables(home / "prefect.db")
    import uvicorn

    # uvicorn would take the number of processes from the environment.
    uvicorn.run(APP, factory=True, fd=int(sys.argv[1]), workers=1, log_level="error")


def _end_with_parent(home: Path) -> None:
    # Not by `sys.stdin`: its lock, held by this thread, ends Python with a fatal error when the server fails to start.
    while os.read(0, 1024):
        pass
    shutil.rmtree(home, ignore_errors=True)
    os._exit(0)  # nothing to save: every state is committed to the database when it is set


if __name__ == "__main__":
    main()
