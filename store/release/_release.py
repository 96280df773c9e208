"""The description of a release as plain data, from which all its documents are written."""

import datetime as dt
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sweetgrad.store.overview import AccuracyInfo, ProfileInfo

PAPER_DOI = "10.1016/j.neunet.2023.09.012"
PAPER = f"Yang et al., Sweet Gradient Matters, Neural Networks 168 (2023), https://doi.org/{PAPER_DOI}"


@dataclass(frozen=True)
class ReleaseFile:
    """A file at the top level of a release, or the folder of the store as a whole."""

    name: str
    num_bytes: int


@dataclass(frozen=True)
class Release:
    """What `publish` wrote.

    Attributes
    ----------
    folder, name
        Its folder, and the name of its store: ``<name>.zarr`` and ``<name>.zarr.zip``.
    zip_only
        Whether it has the store only as a zip, without the folder ``<name>.zarr``.
    number, date
        1 for the first release in the folder, 2 for the next; and its date (UTC).
    note, creators, doi, url
        From the publisher: description of the changes, authors as ``Family, Given``, DOI and address; each may be empty.
    attributes
        Attributes of the store: format version, licence, citation.
    profiles, accuracies
        Its content.
    digests
        SHA-256 of the content by profile, estimator and accuracy table, by which releases are compared.
    changes
        A sentence for everything that is new, changed or removed since the previous release.
    files
        Files at the top level of the folder, with sizes.
    """

    folder: Path
    name: str
    number: int
    date: dt.date
    note: str
    creators: tuple[str, ...]
    doi: str
    url: str
    attributes: dict[str, Any]
    profiles: tuple[ProfileInfo, ...]
    accuracies: tuple[AccuracyInfo, ...]
    digests: dict[str, str]
    changes: tuple[str, ...]
    files: tuple[ReleaseFile, ...] = ()
    zip_only: bool = False

    @property
    def archive(self) -> str:
        """Name of the zip file of the store."""
        return f"{self.name}.zarr.zip"

    @property
    def store(self) -> str:
        """Name of the folder of the store, or of the zip file if there is no folder."""
        return self.archive if self.zip_only else f"{self.name}.zarr"

    @property
    def unchanged(self) -> bool:
        """Whether the content is the same as in the previous release."""
        return self.number > 1 and not self.changes

    @property
    def version(self) -> str:
        """Number of the release as a version with three parts, which catalogues expect."""
        return f"{self.number}.0.0"

    @property
    def title(self) -> str:
        """Title of the data set."""
        spaces = dict.fromkeys(profile.spec.space for profile in self.profiles)
        datasets = dict.fromkeys(profile.spec.dataset for profile in self.profiles)
        return f"Gradient histograms at initialisation of {', '.join(spaces)} on {', '.join(datasets)}"

    @property
    def summary(self) -> str:
        """Description in three sentences."""
        num_archs = max(profile.status.num_ok for profile in self.profiles)
        one = len(self.profiles) == 1
        each = "one profile, that is one setting" if one else f"{len(self.profiles)} profiles, one for each setting"
        return (
            f"How the gradients of {'' if one else 'up to '}{num_archs:,} neural architectures are distributed at "
            f"initialisation, layer by layer, as exact histograms of abs(dJ/dtheta) over one mini-batch: {each} of search "
            "space, data set, batch size and seed. No network was trained for it. It answers every question about Sweet "
            "Gradient (scores, proportions, sweetness, best intervals) without running a network again."
        )

    @property
    def authors(self) -> str:
        """Authors in one line."""
        return "; ".join(self.creators)
