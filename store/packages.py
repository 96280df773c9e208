"""What to do where an optional package is missing."""

import shlex
from importlib.metadata import requires


def how_to_install(extra: str) -> str:
    """The command that installs what an extra of sweetgrad needs.

    It names the packages and not ``sweetgrad[extra]``: sweetgrad may come from a checkout or a wheel, and be on no index.

    Examples
    --------
    >>> how_to_install("images")
    "pip install 'pillow>=11'"
    """
    parts = [line.partition(";") for line in requires("sweetgrad") or ()]
    packages = [name.strip() for name, _, marker in parts if f'extra == "{extra}"' in marker]
    return f"pip install {shlex.join(packages)}"
