"""Metadata of a release for programs: Croissant 1.0 (JSON-LD on schema.org) for catalogues, DataCite for a DOI."""

from collections.abc import Mapping
from typing import Any

from sweetgrad.store.format.blocks import VARIABLES
from sweetgrad.store.release._data_card import licence_url
from sweetgrad.store.release._release import PAPER, PAPER_DOI, Release

_CR = "http://mlcommons.org/croissant/"
_CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "sc": "https://schema.org/",
    "cr": _CR,
    "dct": "http://purl.org/dc/terms/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "examples": {"@id": "cr:examples", "@type": "@json"},
    # Terms of Croissant that go by their own name.
    **{
        term: f"cr:{term}"
        for term in (
            *(
                "citeAs",
                "column",
                "equivalentProperty",
                "extract",
                "field",
                "fileProperty",
                "fileObject",
                "fileSet",
                "format",
            ),
            *(
                "includes",
                "isLiveDataset",
                "jsonPath",
                "key",
                "md5",
                "parentField",
                "path",
                "recordSet",
                "references",
                "regex",
            ),
            *("repeated", "replace", "samplingRate", "separator", "source", "subField", "transform"),
        )
    },
    "conformsTo": "dct:conformsTo",
    "rai": f"{_CR}RAI/",
}


def croissant(release: Release, sums: Mapping[str, str]) -> dict[str, Any]:
    """The JSON-LD of a release.

    Croissant has no words for zarr. So the store is its zip file, and the record sets list what is in it: profiles and variables.

    Parameters
    ----------
    release
        What is described.
    sums
        SHA-256 of the files of the release by name; only the zip's is needed.
    """
    archive = release.archive
    size = next(file.num_bytes for file in release.files if file.name == archive)
    return {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": f"{_CR}1.0",
        "name": release.name,
        "alternateName": release.title,
        "description": release.summary,
        "license": licence_url(str(release.attributes.get("licence", ""))),
        "creator": [{"@type": "Person" if "," in name else "Organization", "name": name} for name in release.creators],
        "datePublished": release.date.isoformat(),
        "version": release.version,
        "keywords": ["neural architecture search", "zero-cost proxy", "gradient statistics", "zarr"],
        "citeAs": f"{release.authors} ({release.date.year}). {release.title}. For the method: {PAPER}",
        "url": release.url or (f"https://doi.org/{release.doi}" if release.doi else archive),
        "isLiveDataset": False,
        "distribution": [
            {
                "@type": "cr:FileObject",
                "@id": archive,
                "name": archive,
                "description": "The whole store as a zip of a zarr v3 hierarchy, uncompressed: readable as it is.",
                "contentUrl": f"{release.url.rstrip('/')}/{archive}" if release.url else archive,
                "contentSize": f"{size} B",
                "encodingFormat": "application/zip",
                "sha256": sums[archive],
            }
        ],
        "recordSet": [
            _records(
                "profiles",
                "Profiles in the store, one for each setting.",
                [_profile_record(p) for p in release.profiles],
            ),
            _records("variables", "Arrays of every profile.", [_variable_record(name) for name in VARIABLES]),
        ],
    }


def _profile_record(profile: Any) -> dict[str, Any]:
    status, spec = profile.status, profile.spec
    return {
        "profile": status.name,
        "space": spec.space,
        "dataset": spec.dataset,
        "batch_size": spec.batch_size,
        "seed": spec.seed,
        "num_archs": status.num_archs,
        "num_ok": status.num_ok,
        "num_failed": status.num_failed,
        "content_digest": profile.content_digest,
    }


def _variable_record(name: str) -> dict[str, Any]:
    variable = VARIABLES[name]
    return {
        "variable": name,
        "dims": ", ".join(variable.dims),
        "dtype": variable.dtype,
        "units": variable.units,
        "meaning": variable.doc,
    }


def _records(name: str, description: str, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """A record set with its rows written into it."""
    return {
        "@type": "cr:RecordSet",
        "@id": name,
        "name": name,
        "description": description,
        "key": {"@id": f"{name}/{next(iter(rows[0]))}"},
        "field": [
            {
                "@type": "cr:Field",
                "@id": f"{name}/{key}",
                "name": f"{name}/{key}",
                "description": key.replace("_", " "),
                "dataType": "sc:Integer" if isinstance(value, int) else "sc:Text",
            }
            for key, value in rows[0].items()
        ],
        "data": [{f"{name}/{key}": value for key, value in row.items()} for row in rows],
    }


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
