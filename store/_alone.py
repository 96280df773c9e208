"""Keep two programs from writing one new folder at the same time."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from zarr.storage import LocalStore

from sweetgrad.store.claims import Claim, Holder, take
from sweetgrad.store.errors import ClaimedError


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Be the only one to write a folder, by a claim beside it; one that an ended process of this machine left counts as gone.

    Raises
    ------
    ClaimedError
        If another program is writing it. It is not waited for: what it writes would be replaced at once.
    """
    claim = Claim(LocalStore(folder.parent), f"{folder.name}.claim", Holder(run=uuid.uuid4().hex))
    try:
        take(claim, may_replace=lambda found: found.is_dead)
    except ClaimedError as error:
        raise ClaimedError(
            f"{folder} is being written by {error.holder}; expected to be alone with it. Nothing was written: wait for that "
            f"process, or, if it has ended, delete {folder.parent / claim.key}.",
            error.holder,
        ) from error
    try:
        yield
    finally:
        claim.release()
