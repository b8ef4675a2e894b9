"""Optional packages: what needs them, and how to install them, as the installed metadata names them.

The name ``biolm`` leads to nothing on the package index, so no advice says ``pip install 'biolm[...]'``: it
names the packages themselves.
"""

from __future__ import annotations

import re
from importlib import metadata
from importlib.util import find_spec

from biolm.errors import ConfigError

__all__ = ["advice", "need", "packages_of"]


def packages_of(extra: str) -> list[str]:
    """Packages of an extra with their versions, as in ``pyproject.toml``; none where biolm is not installed.

    Examples
    --------
    >>> packages_of("fast")
    ['deflate>=0.9']
    """
    try:
        declared = metadata.requires("biolm") or []
    except metadata.PackageNotFoundError:
        return []
    # The installed metadata, so that the advice names the versions of this biolm and not the latest.
    pairs = (re.fullmatch(r"([^;]+?)\s*;\s*extra == ['\"]([\w-]+)['\"]", line) for line in declared)
    return [pair[1] for pair in pairs if pair is not None and pair[2] == extra]


def advice(extra: str) -> str:
    """How to install the packages of an extra.

    Examples
    --------
    >>> advice("fast")
    "pip install 'deflate>=0.9'"
    """
    packages = " ".join(f"'{package}'" for package in packages_of(extra))
    return f"pip install {packages}" if packages else f"install the packages of {extra!r} in pyproject.toml"


def need(what: str, extra: str, *modules: str) -> None:
    """Refuse to begin where a package is missing.

    Parameters
    ----------
    what
        What cannot be done, as the sentence begins.
    extra
        Its name in ``pyproject.toml``.
    modules
        What is imported.

    Raises
    ------
    ConfigError
        If one of the modules is not installed.

    Examples
    --------
    >>> need("reading tables", "fast", "json")
    """
    # Looked for, not imported: importing may take seconds and start threads.
    missing = [name for name in modules if find_spec(name) is None]
    if missing:
        raise ConfigError(f"{what} needs {' and '.join(missing)}, which is not installed: {advice(extra)}")
