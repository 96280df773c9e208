"""Remove credentials from text: for messages, logs, Prefect, and everything that is written to a store or a release.

A location may contain a password (``https://user:password@host``) or a signature (``?X-Amz-Signature=…``). Readers of a message,
of the history of a store, or of a release must not see them, so all rules for recognising secrets are in this module.
"""

import re
import traceback
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

REDACTED = "***"
"""Replacement of a secret."""

T = TypeVar("T")

_END = r"\s'\"<>`|"
# User and password of a URL. After a colon that does not begin a port comes a password, even with a `/`, `?` or `#`, which is
# not valid there in a URL; otherwise everything up to the last @ before the path.
_USER_INFO = re.compile(rf"(://)(?:[^{_END}/?#@:\[]*:(?!\d*(?:[/?#{_END}]|$))[^{_END}]*@|[^{_END}/?#]*@)")
# A whole query or fragment, since no list of the names of secrets is complete. Punctuation of the sentence is kept.
_QUERY = re.compile(rf"(://[^{_END}?#]*[?#])[^{_END}]+?(?=[.,;:)\]}}]*(?:[{_END}]|$))")
# The same without the start of the URL, and headers.
_PAIR = re.compile(
    r"(?<![A-Za-z0-9])(X-(?:Amz|Goog)-(?:Signature|Credential|Security-Token)|AWSAccessKeyId|Signature|sig|"
    rf"(?:access_|auth_|sas_|session_)?token|api_?key|password|secret(?:_access_key)?|account_key)=(?!\*\*\*)[^&,;){_END}]+",
    re.IGNORECASE,
)
_HEADER = re.compile(r"\b(Bearer|Basic) +[\w.~+/=-]{8,}")
_SECRET_OPTION = re.compile(r"key|secret|token|pass|auth|cred|sas|sign|cookie|header|connection_string", re.IGNORECASE)
_MIN_SECRET = 4
"""Length of the shortest value of an option that is searched for, since shorter ones occur in any text."""


def redacted(text: object, *, secrets: tuple[str, ...] = ()) -> str:
    """Remove credentials from the URLs in a text.

    Parameters
    ----------
    text
        A URL, or any text that may contain URLs.
    secrets
        Further values to remove, such as `secrets_of` the storage options in use.

    Examples
    --------
    >>> redacted("cannot read https://me:pass@host/nb201.zarr?X-Amz-Signature=0a1b2c: gone")
    'cannot read https://***@host/nb201.zarr?***: gone'
    >>> redacted("zip::s3://bucket/nb201.zarr.zip"), redacted("what? 1#2 a@b")
    ('zip::s3://bucket/nb201.zarr.zip', 'what? 1#2 a@b')
    """
    found = str(text)
    for secret in sorted(secrets, key=len, reverse=True):
        found = found.replace(secret, REDACTED)
    found = _USER_INFO.sub(rf"\g<1>{REDACTED}@", found)
    found = _QUERY.sub(rf"\g<1>{REDACTED}", found)
    found = _PAIR.sub(rf"\g<1>={REDACTED}", found)
    return _HEADER.sub(rf"\g<1> {REDACTED}", found)


def redacted_facts(facts: T) -> T:
    """Apply `redacted` to every string in JSON-ready facts, including those in lists and dictionaries.

    Examples
    --------
    >>> redacted_facts({"source": "ftp://me:pass@host/a.csv", "rows": [1, "x"]})
    {'source': 'ftp://***@host/a.csv', 'rows': [1, 'x']}
    """
    if isinstance(facts, str):
        return redacted(facts)  # type: ignore[return-value]
    if isinstance(facts, Mapping):
        return {key: redacted_facts(value) for key, value in facts.items()}  # type: ignore[return-value]
    if isinstance(facts, list | tuple):
        return type(facts)(map(redacted_facts, facts))
    return facts


class RedactedError(Exception):
    """The message of an error of another library, without credentials; ``status`` is that of the response, if any."""

    def __init__(self, message: str, status: object = None) -> None:
        super().__init__(message, status)
        self.status = status

    def __str__(self) -> str:
        """The message."""
        return str(self.args[0])


def redacted_cause(error: Exception, redact: Callable[[str], str] = redacted) -> Exception:
    """The cause for a new error: the given error, unless it or an error in its chain shows credentials.

    In that case, a `RedactedError` with the same message. Libraries keep whole URLs in their errors, and tracebacks print them.
    """
    whole = "".join(traceback.format_exception(error))
    if redact(whole) == whole:
        return error
    return RedactedError(redact(f"{type(error).__name__}: {error}"), getattr(error, "status", None))


def secrets_of(options: Mapping[str, Any]) -> tuple[str, ...]:
    """Values of storage options whose names mark them as secrets, including nested options.

    Examples
    --------
    >>> secrets_of({"key": "AKIA", "client_kwargs": {"region_name": "eu-west-1", "headers": {"X-Api": "0a1b2c"}}})
    ('AKIA', '0a1b2c')
    """
    return tuple(_secret_values(options, is_secret=False))


def secrets_in(url: str) -> tuple[str, ...]:
    """Parts of the credentials in a URL, for errors that show one of them without the URL, such as an invalid port.

    Examples
    --------
    >>> secrets_in("https://ann:pass/word@host/nb201.zarr?sig=0a1b2c")
    ('pass', 'word', '0a1b2c')
    """
    hidden = "".join(match[0] for match in _USER_INFO.finditer(url))
    hidden += "".join(f"&{match[0].removeprefix(match[1])}" for match in _QUERY.finditer(url))
    parts = re.split(r"[:/@?#&]+", re.sub(r"([?#&])[^=&]*=", r"\1", hidden))
    return tuple(part for part in parts if len(part) >= _MIN_SECRET)


def _secret_values(options: Any, *, is_secret: bool) -> list[str]:
    if isinstance(options, Mapping):
        return [
            secret
            for key, value in options.items()
            for secret in _secret_values(value, is_secret=is_secret or bool(_SECRET_OPTION.search(str(key))))
        ]
    if isinstance(options, list | tuple):
        return [secret for value in options for secret in _secret_values(value, is_secret=is_secret)]
    text = str(options)
    return [text] if is_secret and not isinstance(options, bool) and len(text) >= _MIN_SECRET else []
