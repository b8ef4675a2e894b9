"""JSON that others wrote: bounded in size and depth, read with errors that name the file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from biolm.errors import BiolmError, CheckpointError
from biolm.io.damage import reason_of
from biolm.io.unpack import gunzip

__all__ = ["parse_json", "read_json"]


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file, gzipped where its name ends in ``.gz``.

    Raises
    ------
    CheckpointError
        If the file is missing or does not hold a JSON object.
    """
    try:
        stored = path.read_bytes()
    except FileNotFoundError:
        raise CheckpointError(
            f"{path.parent} holds no {path.name}; give the folder of a saved model"
        ) from None
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read ({error.strerror}); give a file") from error
    text = gunzip(stored, path, CheckpointError) if path.suffix == ".gz" else stored
    content = parse_json(text, path)
    if not isinstance(content, dict):
        raise CheckpointError(f"{path} is not a JSON object; fetch it again")
    return content


def parse_json(text: bytes | str, name: object, kind: type[BiolmError] = CheckpointError) -> Any:
    """What a JSON text holds.

    Parameters
    ----------
    text
        The document; UTF-8 where it is bytes.
    name
        Names it in the message.
    kind
        What is raised.

    Raises
    ------
    BiolmError
        Of the kind, if it is no JSON, or nested so deep that no writer meant it.

    Examples
    --------
    >>> parse_json(b'{"layers": 2}', "config.json")
    {'layers': 2}
    """
    try:
        return json.loads(text)
    # Brackets within brackets by the million exhaust the parser's stack.
    except RecursionError as error:
        raise kind(f"{name} is JSON nested too deep to be read; fetch it again") from error
    except ValueError as error:
        raise kind(f"{name} is not valid JSON ({reason_of(error)}); fetch it again") from error
