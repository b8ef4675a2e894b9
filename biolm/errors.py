"""What biolm says when it cannot go on.

Every class here is a failure that the user can fix. Its message is one clear sentence that says
what was found and what to do; the command line prints it on stderr and exits with status 1, or 2 for
wrong use (:class:`ConfigError`).
"""

from __future__ import annotations

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


class BiolmError(Exception):
    """A failure the user can fix; the message is one sentence that says what to do."""


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
