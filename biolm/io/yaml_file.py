"""Reading one YAML file, with one sentence when it is damaged."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from biolm.errors import CheckpointError, ConfigError

__all__ = ["read_yaml"]


def read_yaml(path: Path) -> dict[str, Any]:
    """Fields of a YAML file that came with weights.

    Raises
    ------
    CheckpointError
        If it is missing, no YAML, or holds no fields.
    ConfigError
        If pyyaml is not installed.
    """
    try:
        import yaml
    except ImportError as error:
        raise ConfigError(f"reading {path} needs pyyaml: pip install pyyaml") from error
    try:
        # Never the full loader, which builds any object that the file names.
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise CheckpointError(f"{path.parent} lacks {path.name}; fetch the folder again") from error
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read ({error.strerror}); give a file") from error
    except RecursionError as error:
        raise CheckpointError(f"{path} is YAML nested too deep to be read; fetch it again") from error
    except (yaml.YAMLError, ValueError) as error:
        raise CheckpointError(f"{path} is not valid YAML; fetch it again") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path} holds no fields; fetch it again")
    return content
