"""Metadata of a release for a DOI: DataCite metadata schema 4, as JSON."""

from typing import Any

from sweetgrad.store.release._data_card import licence_url
from sweetgrad.store.release._release import PAPER_DOI, Release


def datacite(release: Release) -> dict[str, Any]:
    """The record of a release as its DOI's registrar wants it."""
    licence = str(release.attributes.get("licence", ""))
    record: dict[str, Any] = {
        "types": {"resourceTypeGeneral": "Dataset", "resourceType": "Gradient histograms in a zarr store"},
        "creators": [_creator(name) for name in release.creators],
        "titles": [{"title": release.title}],
        "publisher": {"name": release.authors},
        "publicationYear": str(release.date.year),
        "subjects": [
            {"subject": subject}
            for subject in (
                "neural architecture search",
                "zero-cost proxy",
                "training-free estimator",
                "gradient statistics",
            )
        ],
        "dates": [{"date": release.date.isoformat(), "dateType": "Issued"}],
        "language": "en",
        "relatedIdentifiers": [
            {"relatedIdentifier": PAPER_DOI, "relatedIdentifierType": "DOI", "relationType": "References"}
        ],
        "sizes": [f"{file.num_bytes} bytes ({file.name})" for file in release.files if file.name.endswith(".zip")],
        "formats": ["application/zip", "application/vnd+zarr"],
        "version": release.version,
        "rightsList": [
            {
                "rights": licence,
                "rightsUri": licence_url(licence),
                "rightsIdentifier": licence,
                "rightsIdentifierScheme": "SPDX",
            }
        ],
        "descriptions": [{"description": release.summary, "descriptionType": "Abstract"}],
        "schemaVersion": "http://datacite.org/schema/kernel-4",
    }
    if release.note:
        record["descriptions"].append({"description": release.note, "descriptionType": "Other"})
    if release.doi:
        record["doi"] = release.doi
    return record


def _creator(name: str) -> dict[str, str]:
    family, comma, given = (part.strip() for part in name.partition(","))
    if not comma:
        return {"name": name, "nameType": "Organizational"}
    return {"name": f"{family}, {given}", "nameType": "Personal", "familyName": family, "givenName": given}
