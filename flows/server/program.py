"""The process of a run's own Prefect server, started by `sweetgrad.flows.server.ephemeral` with the number of a socket.

It serves on a socket that it inherits, and ends when its standard input closes, which happens however its parent ends.
"""

import os
import shutil
import sys
import threading
from pathlib import Path

__all__: list[str] = []


def main() -> None:
    """Make the tables of its database, and serve until standard input closes."""
    home = Path(os.environ["PREFECT_HOME"])
    threading.Thread(target=_end_with_parent, args=(home,), daemon=True).start()
    _make_tables(home / "prefect.db")
    import uvicorn

    # How many processes there are, uvicorn would take from the environment.
    uvicorn.run("prefect.server.api.server:create_app", factory=True, fd=int(sys.argv[1]), workers=1, log_level="error")


def _end_with_parent(home: Path) -> None:
    # Not by `sys.stdin`: its lock, held by this thread, ends Python with a fatal error when the server fails to start.
    while os.read(0, 1024):
        pass
    shutil.rmtree(home, ignore_errors=True)
    os._exit(0)  # nothing to save: every state is committed to the database when it is set


def _make_tables(path: Path) -> None:
    """What Prefect's migrations arrive at, at once; what is there already stays."""
    from prefect.server.database.orm_models import Base
    from sqlalchemy import create_engine
    from sqlalchemy.schema import CreateIndex, CreateTable

    engine = create_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        connection.exec_driver_sql("PRAGMA synchronous = OFF")  # nothing of it outlives the run
        for table in Base.metadata.sorted_tables:
            connection.execute(CreateTable(table, if_not_exists=True))
            for index in table.indexes:  # one of them twice, under one name
                connection.execute(CreateIndex(index, if_not_exists=True))
    engine.dispose()


if __name__ == "__main__":
    main()
