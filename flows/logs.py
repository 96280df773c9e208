"""The log of a run: records of `logging` under ``sweetgrad``, on standard error and in a file.

Worker processes take the level and the file from the environment, which those of this machine and jobs of a batch system inherit.
"""

import logging
import os
import sys
from pathlib import Path
from typing import TextIO

from sweetgrad.store.redaction import redacted

LEVEL_VARIABLE = "SWEETGRAD_LOG_LEVEL"
FILE_VARIABLE = "SWEETGRAD_LOG_FILE"
LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")
_FORMAT = "%(asctime)s %(levelname)s [%(process)d] %(name)s: %(message)s"


def configure_logging(level: str, file: Path | None = None) -> None:
    """Log records of ``level`` and above to standard error, and to the end of ``file``, in this process and its workers.

    Raises
    ------
    ValueError
        If there is no such level.
    OSError
        If the file cannot be written.
    """
    if level.upper() not in LEVELS:
        raise ValueError(f"log level must be one of {', '.join(LEVELS)}, got {level!r}")
    os.environ[LEVEL_VARIABLE] = level.upper()
    if file is not None:
        os.environ[FILE_VARIABLE] = str(file.resolve())
    _add_handlers(on_console=True)


def configure_worker_logging(*, on_console: bool) -> None:
    """Log in a worker process as its environment says; a process that logs already stays as it is.

    Workers of this machine share the terminal of the run, where their lines would break the progress bar, so they log to the
    file only.
    """
    is_configured = bool(logging.getLogger("sweetgrad").handlers)
    if not is_configured and (LEVEL_VARIABLE in os.environ or not on_console):
        _add_handlers(on_console=on_console)


def _add_handlers(*, on_console: bool) -> None:
    file = os.environ.get(FILE_VARIABLE)
    handlers: list[logging.Handler] = [_StandardError()] if on_console else []
    if file:
        handlers.append(logging.FileHandler(file, encoding="utf-8"))
    logger = logging.getLogger("sweetgrad")
    for replaced in logger.handlers:
        replaced.close()
    logger.handlers[:] = handlers or [logging.NullHandler()]
    logger.setLevel(os.environ.get(LEVEL_VARIABLE, "WARNING"))
    logger.propagate = False  # Prefect has handlers of its own at the root
    for handler in handlers:
        handler.setFormatter(_RedactingFormatter(_FORMAT))


class _RedactingFormatter(logging.Formatter):
    """Lines without credentials."""

    def format(self, record: logging.LogRecord) -> str:
        return redacted(super().format(record))


class _StandardError(logging.StreamHandler[TextIO]):
    """Writes to what is standard error at the time, which a progress bar replaces so that lines appear above it."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> TextIO:  # type: ignore[override]  # as `logging` does for its handler of last resort
        return sys.stderr
