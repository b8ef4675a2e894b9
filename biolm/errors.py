"""What biolm says when it cannot go on.

Every class here is a failure that the user can fix. Its message is one clear sentence that says
what was found and what to do; the command line prints it on stderr and exits with status 1, or 2 for
wrong use (:class:`ConfigError`).
"""

from __future__ import annotations

import re

__all__ = [
    "BiolmError",
    "CheckpointError",
    "ConfigError",
    "GeneMatchError",
    "InputError",
    "OutputError",
    "ServerError",
    "TrainingError",
]

# A name of a file has at most 255 letters.
_LONG = re.compile(r"[^\s/]{256,}")


class BiolmError(Exception):
    """A failure the user can fix; the message is one sentence that says what to do.

    Words of a file that stand in it are cut where they are longer than any word that means something.

    Examples
    --------
    >>> len(str(BiolmError("no such column: " + "9" * 5000)))
    97
    """

    def __str__(self) -> str:
        return _LONG.sub(lambda match: f"{match[0][:80]}…", super().__str__())


class InputError(BiolmError):
    """A data file or table that cannot be used as it is."""


class GeneMatchError(InputError):
    """Too few of the data's genes are known to the model."""


class ConfigError(BiolmError, ValueError):
    """An impossible setting or combination of settings."""


class CheckpointError(BiolmError):
    """A saved model with missing, extra, mis-shaped or unsafe content."""


class OutputError(BiolmError):
    """An output that exists already or cannot be written."""


class ServerError(BiolmError):
    """A server that is down, too slow, busy, or answers nonsense."""


class TrainingError(BiolmError):
    """A training run that cannot go on, for example because its loss is NaN."""
