"""From a YAML file to :class:`~biolm.training.config.RunConfig`: every key known, every type checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from biolm.errors import ConfigError
from biolm.io.atomic import replacing
from biolm.io.damage import reason_of
from biolm.settings import build_settings
from biolm.training.config import RunConfig

__all__ = ["build", "change", "read_config", "write_config"]


def read_config(path: str | Path, changes: Sequence[str] = ()) -> RunConfig:
    """Read a YAML file.

    Parameters
    ----------
    path
        The file.
    changes
        Each ``path.to.key=value`` in YAML, put in place of what the file says.

    Raises
    ------
    ConfigError
        If the file is missing or no YAML, a key is unknown (the message gives the nearest), or a value is
        of another type.
    """
    import yaml

    try:
        values = _load(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path} cannot be read ({error.strerror}); give a YAML file") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is no UTF-8 text; save it as UTF-8") from error
    except yaml.YAMLError as error:
        # YAML names a text that it got in memory, and the user gave a file.
        words = " ".join(str(error).split()).replace('in "<unicode string>", ', "at ")
        raise ConfigError(f"{path} is not valid YAML: {words}") from error
    except (ValueError, RecursionError, TypeError, AttributeError) as error:
        raise ConfigError(f"{path} is not valid YAML ({reason_of(error)}); correct it") from error
    if not isinstance(values, dict):
        raise ConfigError(f"{path} holds no table of settings; see the tutorial on pretraining")
    for text in changes:
        change(values, text)
    return build(values)


def _load(text: str) -> Any:
    """Plain values of YAML; a key that stands twice is an error, not a choice of the last."""
    import yaml

    class Loader(yaml.SafeLoader):
        def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
            seen = set()
            for key in (key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
                if key in seen:
                    raise yaml.constructor.ConstructorError(
                        None, None, f"{key!r} stands twice", node.start_mark
                    )
                seen.add(key)
            return super().construct_mapping(node, deep)

    return yaml.load(text, Loader)  # noqa: S506  # a SafeLoader


def build(values: Mapping[str, Any]) -> RunConfig:
    """Settings from plain values.

    Raises
    ------
    ConfigError
        As :func:`read_config`.

    Examples
    --------
    >>> build({"data": {"paths": ["cells.h5ad"], "batch_token": 8}})
    Traceback (most recent call last):
    biolm.errors.ConfigError: data has no setting 'batch_token'; did you mean 'batch_tokens'?
    """
    config: RunConfig = build_settings(RunConfig, values, "")
    return config


def change(values: dict[str, Any], text: str) -> None:
    """Put one ``path.to.key=value`` into plain values.

    Parameters
    ----------
    values
        Changed in place.
    text
        ``path.to.key=value``.

    Raises
    ------
    ConfigError
        If there is no ``=``, the value is no YAML, or the path leads through a value.

    Examples
    --------
    >>> values = {"trainer": {"max_steps": 10}}
    >>> change(values, "trainer.max_steps=20")
    >>> values
    {'trainer': {'max_steps': 20}}
    """
    import yaml

    path, equals, value = text.partition("=")
    if not equals or not path:
        raise ConfigError(f"{text!r} is no change; write it as section.key=value")
    *sections, key = path.strip().split(".")
    place = values
    for section in sections:
        # A section in which nothing is set yet is empty.
        place[section] = {} if place.get(section) is None else place[section]
        place = place[section]
        if not isinstance(place, dict):
            raise ConfigError(f"{text!r} leads through {section!r}, which is a value, not a section")
    try:
        place[key] = yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise ConfigError(f"the value of {text!r} is not valid YAML") from error


def write_config(path: Path, config: RunConfig) -> None:
    """Write the whole config, defaults included; :func:`read_config` gives the same back.

    Parameters
    ----------
    path
        Of the file.
    config
        Of the run.
    """
    import yaml

    with replacing(path, overwrite=True) as temporary:
        temporary.write_text(yaml.safe_dump(config.as_dict(), sort_keys=False), encoding="utf-8")
