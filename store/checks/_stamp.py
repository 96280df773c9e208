"""The rows of a group against the stamp of the last run that ended."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sweetgrad.store.checks._problem import ProfileCheck
from sweetgrad.store.format.digests import content_digest
from sweetgrad.store.format.schema import STATUS


def check_stamp(
    check: ProfileCheck,
    stamp: Mapping[str, Any],
    status: NDArray[np.uint8],
    digest: NDArray[np.uint64],
    *,
    agree: bool,
    prefix: str = "",
) -> None:
    """Compare rows with the stamp; rows added by a run that was cut off since are no problem.

    Parameters
    ----------
    check
        What is told of problems.
    stamp
        Attributes of the group.
    status, digest
        Of all rows.
    agree
        Whether all rows have the content of their own digest; otherwise the digest of all says nothing new.
    prefix
        What messages begin with: the group, where it is not the profile itself.
    """
    if "content_digest" not in stamp:
        return
    counts, sha256 = (stamp.get("num_ok", 0), stamp.get("num_failed", 0)), stamp["content_digest"]
    if not all(type(count) is int for count in counts) or not isinstance(sha256, str):
        shown = f"{counts[0]!r}, {counts[1]!r} and {sha256!r}"
        check.add(f"{prefix}num_ok, num_failed and content_digest are {shown}, which say nothing.", repair=lambda: None)
        return
    ok, failed = int((status == STATUS["ok"]).sum()), int((status == STATUS["failed"]).sum())
    stamped_ok, stamped_failed = counts
    if ok + failed < stamped_ok + stamped_failed or ok < stamped_ok:
        holes = np.flatnonzero(status == STATUS["not run"])
        # A digest without a status marks a row that was there; with none left, any hole can be one.
        lost = holes[digest[holes] != 0] if (digest[holes] != 0).any() else holes
        word = "complete" if stamp.get("complete") else "unfinished"
        check.add(
            f"{prefix}status: was stamped {word} with {stamped_ok} rows ok and {stamped_failed} failed, and now has {ok} and "
            f"{failed}: rows were lost. The next run makes them again.",
            rows=tuple(lost.tolist()),
            repair=lambda: None,
        )
    elif agree and (ok, failed) == (stamped_ok, stamped_failed) and content_digest(digest, status) != sha256:
        check.add(
            f"{prefix}content_digest: rows were replaced after the stamp, though each agrees with its own digest.",
            repair=lambda: None,
        )
