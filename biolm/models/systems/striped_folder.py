"""Folders of Evo models: the config in YAML or JSON, weights in one file, cut into parts, or in shards."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from biolm.errors import BiolmError, CheckpointError, ConfigError
from biolm.io.json_file import read_json
from biolm.io.parts import JoinedFile, find_parts
from biolm.io.yaml_file import read_yaml

if TYPE_CHECKING:
    from torch import Tensor

    from biolm.core import CoreConfig, Transformer
    from biolm.models.families.keys import KeyTable

__all__ = [
    "DTYPES",
    "check_tied",
    "config_of",
    "fill",
    "holds",
    "read_tensors",
    "reading_config",
    "weight_files",
]

DTYPES = ("auto", "float32", "bfloat16")
"""``auto`` keeps the number type of the file."""


def config_of(folder: Path) -> dict[str, Any]:
    """The config of a folder: its only YAML file, or ``config.json``.

    Raises
    ------
    CheckpointError
        If there is none, several YAML files, or it is damaged.
    """
    files = sorted([*folder.glob("*.yml"), *folder.glob("*.yaml")])
    if len(files) > 1:
        names = ", ".join(path.name for path in files)
        raise CheckpointError(f"{folder} holds several configs ({names}); leave the one of these weights")
    return read_yaml(files[0]) if files else read_json(folder / "config.json")


def holds(folder: Path, field: str) -> bool:
    """Whether a folder has a config with this field.

    Parameters
    ----------
    folder
        Of the checkpoint.
    field
        Of the config.
    """
    try:
        return field in config_of(folder)
    except BiolmError:
        return False


@contextmanager
def reading_config(folder: Path) -> Iterator[None]:
    """What is wrong with a published config is a fault of the checkpoint, not of the user's settings.

    Raises
    ------
    CheckpointError
        In place of a missing field or an impossible combination, with the folder.
    """
    try:
        yield
    except KeyError as error:
        raise CheckpointError(f"the config of {folder} lacks the field {error}") from error
    except ConfigError as error:
        raise CheckpointError(f"{folder}: {error}") from error


def weight_files(folder: Path) -> list[Path]:
    """The weights of a folder: one ``.pt``, the parts of one, or what ``save_pretrained`` writes.

    Raises
    ------
    CheckpointError
        If there are none or several, or a part is missing.
    """
    from biolm.core.checkpoint import find_weights

    parts = find_parts(folder)
    whole = [[path] for path in sorted(folder.glob("*.pt"))]
    # A file that was joined already stands for its parts.
    listed = [*whole, *(pieces for name, pieces in parts.items() if not (folder / name).is_file())]
    if len(listed) > 1:
        names = ", ".join(files[0].name for files in listed)
        raise CheckpointError(f"{folder} holds several models ({names}); leave one of them")
    return listed[0] if listed else find_weights(folder)


def read_tensors(folder: Path, known: KeyTable, config: CoreConfig) -> dict[str, Tensor]:
    """All tensors of a folder, on disk until they are used where the layout allows it.

    Transformer Engine's state of FP8 layers is kept as bytes and left out by name, never unpickled.

    Parameters
    ----------
    folder
        Of the checkpoint.
    known
        Names of the weights.
    config
        Of the core.

    Raises
    ------
    CheckpointError
        If a file is damaged, or holds something else than tensors that is not left out by name.
    """
    from torch import Tensor

    from biolm.core.checkpoint import read_torch, read_weights

    files = weight_files(folder)
    if files[0].suffix in (".safetensors", ".bin"):
        stored: dict[str, Any] = dict(read_weights(files))
    elif files[0].suffix == ".pt":
        stored = read_torch(files[0], (io.BytesIO,), mapped=True)
    else:
        with JoinedFile(files) as joined:
            stored = read_torch(files[0].with_suffix(""), (io.BytesIO,), content=io.BufferedReader(joined))
    tensors: dict[str, Tensor] = {}
    for name, value in stored.items():
        if isinstance(value, Tensor):
            tensors[name] = value
        elif not known.drops(name, config):
            raise CheckpointError(
                f"{files[0]}: {name} is a {type(value).__name__}, not a tensor; fetch it again"
            )
    return tensors


def check_tied(tensors: Mapping[str, Tensor], folder: Path, prefix: str = "") -> None:
    """Refuse weights whose output matrix is another one than the embedding.

    Parameters
    ----------
    tensors
        By name.
    folder
        Names the checkpoint in messages.
    prefix
        Before the names.

    Raises
    ------
    CheckpointError
        If ``unembed.weight`` differs.
    """
    import torch

    copy, own = tensors.get(f"{prefix}unembed.weight"), tensors.get(f"{prefix}embedding_layer.weight")
    if copy is not None and own is not None and not torch.equal(copy, own):
        raise CheckpointError(
            f"{folder}: unembed.weight differs from embedding_layer.weight, but they are one in "
            f"published models"
        )


def fill(
    config: CoreConfig, keys: KeyTable, tensors: dict[str, Tensor], folder: Path, dtype: str
) -> Transformer:
    """The core with these weights; memory is looked at before they are read.

    Parameters
    ----------
    config, keys
        Of the family.
    tensors
        As published.
    folder
        For messages.
    dtype
        One of :data:`DTYPES`. Filters' poles and residues stay in float32.

    Raises
    ------
    CheckpointError
        If weights are missing, extra, mis-shaped, stored in FP8 alone, or need more memory than there is.
    ConfigError
        If there is no such number type.
    """
    import torch

    from biolm.core import Transformer
    from biolm.core.checkpoint import load_strict
    from biolm.models.memory import check_memory

    if dtype not in DTYPES:
        raise ConfigError(f"dtype must be one of {', '.join(DTYPES)}, not {dtype!r}")
    for name, tensor in tensors.items():
        # Numbers of one byte are FP8, which needs scales that are stored elsewhere.
        if tensor.element_size() == 1 and tensor.is_floating_point():
            raise CheckpointError(
                f"{folder}: {name} is stored in FP8 alone, which biolm does not compute in; fetch the "
                f"weights in "
                "bfloat16"
            )
    wanted = None if dtype == "auto" else getattr(torch, dtype)
    # Nothing is allotted before it is known to fit.
    with torch.device("meta"):
        model = Transformer(config)
    kept = ("poles", "residues", "D", "inv_freq")
    types = {
        name: tensor.dtype if wanted is None or (name.endswith(kept) and wanted == torch.bfloat16) else wanted
        for name, tensor in tensors.items()
        if not keys.drops(name, config)
    }
    needed = sum(tensors[name].numel() * kind.itemsize for name, kind in types.items())
    check_memory(folder.name, needed, model.n_parameters)
    ours = keys.theirs_to_ours({name: tensors[name].to(kind) for name, kind in types.items()}, config, folder)
    # Assigned, not copied: billions of weights must not lie in memory twice.
    load_strict(model, ours, folder, lambda name: keys.published(name, config), assign=True)
    return model.eval()
