"""The documents of a release: the data card (its README), the changelog, and machine-readable metadata.

The changelog lists what is new, changed or removed according to the digests, and keeps the entries of earlier releases. The
metadata is Croissant 1.0 (JSON-LD on schema.org) for catalogues, and DataCite for a DOI.
"""

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile

from sweetgrad.store.access import check_members, command_line
from sweetgrad.store.checks.sums import SUMS, read_sums
from sweetgrad.store.errors import StoreError
from sweetgrad.store.format.bins import EDGES, NUM_BINS
from sweetgrad.store.format.blocks import ACTIVATIONS, MOMENTS, SCORES, VARIABLES
from sweetgrad.store.format.schema import KINDS, LAYER_TYPES, STATUS, Variable
from sweetgrad.store.overview import ProfileInfo
from sweetgrad.store.pages import render
from sweetgrad.store.release._release import PAPER, PAPER_DOI, Release

_LICENCES = {"CC-BY-4.0": "https://creativecommons.org/licenses/by/4.0/"}
_NOT_PROVENANCE = {"started"}


def data_card(release: Release) -> str:
    """The data card in Markdown: content, loading, provenance, layout, limits, verification, licence and citation."""
    sizes = {file.name: _megabytes(file.num_bytes) for file in release.files}
    estimators = {estimator.name for profile in release.profiles for estimator in profile.estimators}
    blocks = {block.declared.path: block.declared for profile in release.profiles for block in profile.blocks}
    licence = str(release.attributes.get("licence", ""))
    return render(
        Path(__file__).with_name("data_card.md.j2"),
        release=release,
        sizes=sizes,
        profile_rows=[_profile_row(profile) for profile in release.profiles],
        provenance=[_provenance(profile) for profile in release.profiles],
        variables=_variable_rows(VARIABLES.values()),
        # The variables of every estimator with one score.
        estimator_variables=_variable_rows(SCORES) if estimators else [],
        block_variables={
            block.path: _variable_rows(block.contents)
            for block in (*(each for each in (ACTIVATIONS, MOMENTS) if each.name in estimators), *blocks.values())
        },
        codes={"status": _codes(STATUS), "layer_type": _codes(LAYER_TYPES)},
        kinds=KINDS,
        num_bins=NUM_BINS,
        num_edges=len(EDGES),
        licence=licence,
        licence_url=licence_url(licence),
        paper=PAPER,
    )


def licence_url(licence: str) -> str:
    """Address of a licence, or its name if the address is not known."""
    return _LICENCES.get(licence, licence)


def _profile_row(profile: ProfileInfo) -> list[str]:
    status = profile.status
    counts = (status.num_archs, status.num_ok, status.num_failed, status.num_not_run)
    return [
        f"`{status.name}`",
        *(f"{count:,}" for count in counts),
        _megabytes(profile.num_bytes or 0),
        f"`{profile.content_digest}`",
    ]


def _provenance(profile: ProfileInfo) -> dict[str, Any]:
    """Rows of the settings, and of every fact about the runs with all its values."""
    facts: dict[str, dict[str, None]] = {}
    for run in profile.runs:
        for key, value in run.items():
            if key not in _NOT_PROVENANCE and value not in ("", None):
                facts.setdefault(key, {})[str(value)] = None
    return {
        "profile": profile,
        "settings": [(key, f"`{value}`") for key, value in profile.spec.to_attrs().items() if value != ""],
        "facts": [(key, ", ".join(f"`{value}`" for value in values)) for key, values in facts.items()],
    }


def _variable_rows(variables: Iterable[Variable]) -> list[list[str]]:
    return [[f"`{v.name}`", ", ".join(v.dims), v.dtype, v.units, v.doc] for v in variables]


def _codes(codes: Mapping[str, int]) -> str:
    return ", ".join(f"{code} {word}" for word, code in codes.items())


def _megabytes(num_bytes: int) -> str:
    return f"{num_bytes / 1e6:,.2f} MB"


CHANGELOG = "CHANGELOG.md"
_ENTRY = re.compile(r"^## Release (\d+) \(", re.MULTILINE)


def last_number(folder: Path) -> int:
    """Number of the last release in a folder; 0 if there is none."""
    path = folder / CHANGELOG
    numbers = _ENTRY.findall(path.read_text(encoding="utf-8")) if path.is_file() else []
    return max(map(int, numbers), default=0)


def content_digests(sums: Mapping[str, str], read: Callable[[str], bytes]) -> dict[str, str]:
    """SHA-256 of the content by profile, estimator and accuracy table.

    Parameters
    ----------
    sums
        SHA-256 by path in the store.
    read
        Returns the content of the file at a path; only metadata of profiles is read.
    """
    parts: dict[str, list[str]] = {}
    for path, digest in sorted(sums.items()):
        found = re.match(r"(?P<part>[^/]+/accuracy|.+/(?:estimators|blocks)/[^/]+)/(?P<rest>.+)", path)
        # Metadata contains dates, and descriptions whose wording may improve.
        if found and not path.endswith("zarr.json"):
            parts.setdefault(found["part"], []).append(f"{digest} {found['rest']}")
    digests = {part: hashlib.sha256("\n".join(lines).encode()).hexdigest() for part, lines in parts.items()}
    for path in sums:
        name = path.removesuffix("/zarr.json")
        if name != path and {f"{name}/status/zarr.json", f"{name}/arch/zarr.json"} <= sums.keys():
            digests[name] = json.loads(read(path))["attributes"].get("content_digest", "")
    return dict(sorted(digests.items()))


def previous_digests(folder: Path) -> dict[str, str]:
    """`content_digests` of the release in a folder; empty if there is none.

    Raises
    ------
    StoreError
        If that release is damaged.
    """
    if not (folder / SUMS).is_file():
        return {}
    sums = read_sums((folder / SUMS).read_text(encoding="utf-8"), where=f"{folder / SUMS}")
    tops = dict.fromkeys(name.partition("/")[0] for name in sums)
    found: dict[str, str] = {}
    try:
        for top in tops:
            if top.endswith(".zarr"):
                inside = {name.partition("/")[2]: digest for name, digest in sums.items() if name.startswith(f"{top}/")}
                found |= content_digests(inside, partial(_read, folder / top))
            elif top.endswith(".zarr.zip") and top.removesuffix(".zip") not in tops:
                found |= _digests_in_zip(folder / top)
    except (OSError, BadZipFile) as error:
        raise StoreError(
            f"{folder} contains a damaged release ({error}), so the changes since then cannot be determined: "
            f"`{command_line('verify', folder)}` says which files to download again; or choose a new folder."
        ) from error
    return found


def _read(store: Path, path: str) -> bytes:
    return (store / path).read_bytes()


def _digests_in_zip(path: Path) -> dict[str, str]:
    with ZipFile(path) as archive:
        check_members(archive.infolist(), where=str(path), archive_bytes=path.stat().st_size)
        sums = {}
        for name in archive.namelist():
            with archive.open(name) as member:
                sums[name] = hashlib.file_digest(member, "sha256").hexdigest()  # type: ignore[arg-type]  # it has readinto
        return content_digests(sums, archive.read)


def changes(before: Mapping[str, str], after: Mapping[str, str]) -> tuple[str, ...]:
    """A sentence for each part that is new, changed or removed.

    Examples
    --------
    >>> changes({"a": "1" * 64, "b": "2" * 64}, {"a": "3" * 64, "c": "4" * 64})
    ('`a`: content changed, 111111111111… became 333333333333…', '`b`: removed', '`c`: new, content 444444444444…')
    """
    lines = []
    for part in sorted({*before, *after}):
        old, new = before.get(part), after.get(part)
        if old is None:
            lines.append(f"`{part}`: new, content {new[:12] if new else ''}…")
        elif new is None:
            lines.append(f"`{part}`: removed")
        elif old != new:
            lines.append(f"`{part}`: content changed, {old[:12]}… became {new[:12]}…")
    return tuple(lines)


def changelog(release: Release, before: str) -> str:
    """The changelog with the entry of this release first; ``before`` is that of the previous release."""
    lines = [f"## Release {release.number} ({release.date.isoformat()})", ""]
    if release.note:
        lines += [release.note, ""]
    lines += [f"- {change}" for change in release.changes]
    if release.unchanged:
        lines.append(f"- Unchanged: all content has the digests of release {release.number - 1}.")
    lines += ["", f"Written by sweetgrad {version('sweetgrad')}.", ""]
    start = _ENTRY.search(before)
    return (
        "\n".join([f"# Releases of {release.name}", "", *lines, before[start.start() :] if start else ""]).rstrip()
        + "\n"
    )


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
    # Croissant terms with their own names.
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

    Croissant has no terms for zarr, so the store is described as its zip file, with its profiles and variables as record sets.

    Parameters
    ----------
    release
        The release to describe.
    sums
        SHA-256 of the files of the release by name; only that of the zip file is needed.
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
                "description": "The whole store as an uncompressed zip of a zarr v3 hierarchy, readable without unpacking.",
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
    """A record set with its rows inline."""
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
    """The DataCite record of a release, for its DOI."""
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
