"""Interfaces of Prefect that it does not document, each with the reason why it is used; nothing else imports any."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

APP = "prefect.server.api.server:create_app"
"""The server as an ASGI application: `prefect server start` cannot serve on a socket that it inherits."""

SERVER_VARIABLES = {"PREFECT__SERVER_EPHEMERAL": "1", "PREFECT__SERVER_FINAL": "1"}
"""What Prefect sets for a server that it starts itself for the length of a run."""


@contextmanager
def discarded_events() -> Iterator[None]:
    """Discard the events of this process: those still queued when its server ends would be retried for minutes.

    No setting turns them off.
    """
    from prefect.events.clients import NullEventsClient
    from prefect.events.worker import EventsWorker

    EventsWorker.set_client_override(NullEventsClient)
    try:
        yield
    finally:
        EventsWorker.set_client_override(None)


def untagged_tasks() -> AbstractContextManager[Any]:
    """Start tasks without the tags of the flow: each tag costs calls to the server, which looks for a limit of that name."""
    from prefect.context import TagsContext

    return TagsContext(current_tags=set())


def raise_error_of(state: Any) -> None:
    """Raise what a state failed with, in whatever thread; the documented call returns a coroutine if an event loop is running."""
    state.result(_sync=True)


def make_tables(path: Path) -> None:
    """Create the tables of a server's database at once; existing ones stay.

    Prefect's migrations arrive at the same, and take 4.6 s of CPU.
    """
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
