"""JSON files of checkpoints, read with errors that name the file."""

from __future__ import annotations

import gzip
import json
import zlib
from pathlib import Path
from typing import Any

from biolm.errors import CheckpointError

__all__ = ["read_json"]


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file, gzipped where its name ends in ``.gz``.

    Raises
    ------
    CheckpointError
        If the file is missing or does not hold a JSON object.
    """
    try:
        stored = path.read_bytes()
        content = json.loads(gzip.decompress(stored) if path.suffix == ".gz" else stored)
    except FileNotFoundError:
        raise CheckpointError(
            f"{path.parent} holds no {path.name}; give the folder of a saved model"
        ) from None
    except (ValueError, EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise CheckpointError(f"{path} is not valid JSON ({error}); fetch it again") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path} is not a JSON object; fetch it again")
    return content
