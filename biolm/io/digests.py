"""Digests of the files of a folder that biolm wrote, so that a damaged bit is reported, not used."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from biolm.errors import BiolmError, InputError

__all__ = ["CHECKED_BYTES", "check_digests", "check_facts", "digests_of", "sealed"]

CHECKED_BYTES = 1 << 28
"""Files up to this size are checked when they are opened: about 0.2 s; larger ones by their size alone."""
SEAL = "sha256"


def digests_of(folder: Path, names: Iterable[str]) -> dict[str, str]:
    """SHA-256 of some files of a folder, by name; of those that are checked when they are opened.

    Parameters
    ----------
    folder
        With the files.
    names
        Of the files.
    """
    digests = {}
    for name in sorted(names):
        if (folder / name).stat().st_size > CHECKED_BYTES:
            continue
        with (folder / name).open("rb") as file:
            digests[name] = hashlib.file_digest(file, "sha256").hexdigest()
    return digests


def check_digests(
    folder: Path, digests: Any, kind: type[BiolmError] = InputError, advice: str = "make it again"
) -> None:
    """Refuse files that are not those that were written.

    Parameters
    ----------
    folder
        Where they lie.
    digests
        What :func:`digests_of` gave; None of folders from before there were digests.
    kind
        What is raised.
    advice
        What the user is to do.

    Raises
    ------
    BiolmError
        Of the kind, where a file is missing or another.
    """
    for name, expected in dict(digests or {}).items():
        file = folder / name
        # A name in a damaged or hostile record could lead out of the folder.
        if file.parent != folder or not file.is_file():
            raise kind(f"{folder} is damaged: {name} is missing; {advice}")
        if digests_of(folder, [name]).get(name) != expected:
            raise kind(f"{folder} is damaged: {name} is not the file that was written; {advice}")


def sealed(facts: Mapping[str, Any], key: str = SEAL) -> dict[str, Any]:
    """Facts with a digest of themselves, for the JSON file that they are written to.

    Parameters
    ----------
    facts
        What the file is to hold.
    key
        Where the digest stands.

    Examples
    --------
    >>> check_facts(sealed({"k": 3}), "x.json")["k"]
    3
    """
    return {**facts, key: _digest(facts)}


def check_facts(
    facts: dict[str, Any],
    name: object,
    kind: type[BiolmError] = InputError,
    advice: str = "make it again",
    key: str = SEAL,
) -> dict[str, Any]:
    """Facts as they were given to :func:`sealed`; those of files from before there were digests pass.

    Parameters
    ----------
    facts
        Content of the JSON file.
    name
        The file.
    kind
        What is raised.
    advice
        What the user is to do.
    key
        Where the digest stands.

    Raises
    ------
    BiolmError
        Of the kind, if they are others.
    """
    unsealed = {field: value for field, value in facts.items() if field != key}
    if facts.get(key, _digest(unsealed)) != _digest(unsealed):
        raise kind(f"{name} is damaged: it does not hold what was written; {advice}")
    return unsealed


def _digest(facts: Mapping[str, Any]) -> str:
    # Through JSON once, so that what was read back is spelled as what was written.
    text = json.dumps(json.loads(json.dumps(facts)), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
