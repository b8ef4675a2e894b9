"""Reading and writing weights: safetensors (sharded or not), and torch files without running any code."""

from __future__ import annotations

import hashlib
import os
import pickle
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from biolm.core.config import CoreConfig
from biolm.errors import CheckpointError
from biolm.io.json_file import read_json

__all__ = [
    "check_size",
    "find_weights",
    "hash_files",
    "load_strict",
    "read_some",
    "read_torch",
    "read_weights",
    "write_weights",
]

_NAMES = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)


def find_weights(folder: Path) -> list[Path]:
    """Weight files of a folder as ``save_pretrained`` lays them out.

    Raises
    ------
    CheckpointError
        If there are none, or an index names a file that is missing.
    """
    for name in _NAMES:
        path = folder / name
        if not path.is_file():
            continue
        if path.suffix != ".json":
            return [path]
        weight_map = read_json(path).get("weight_map")
        if not isinstance(weight_map, dict) or not all(isinstance(name, str) for name in weight_map.values()):
            raise CheckpointError(f"{path} holds no table of weights; download the folder again")
        shards = sorted(set(weight_map.values()))
        for shard in shards:
            if Path(shard).name != shard:
                raise CheckpointError(f"{path} names {shard}, which lies outside the folder; not followed")
            if not (folder / shard).is_file():
                raise CheckpointError(f"{path} names {shard}, which is missing; download the folder again")
        return [folder / shard for shard in shards]
    raise CheckpointError(f"{folder} holds no weights; expected one of {', '.join(_NAMES)}")


def read_weights(paths: Iterable[Path]) -> dict[str, Tensor]:
    """All tensors of some weight files, on the CPU.

    Raises
    ------
    CheckpointError
        If a file is damaged or holds anything but tensors.
    """
    tensors: dict[str, Tensor] = {}
    for path in paths:
        weights = _read_safetensors(path) if path.suffix == ".safetensors" else read_torch(path)
        for name, tensor in weights.items():
            if not isinstance(tensor, Tensor):
                raise CheckpointError(f"{path}: {name} is not a tensor; give the file of bare weights")
            tensors[name] = tensor
    return tensors


def read_some(paths: Iterable[Path], names: Iterable[str]) -> dict[str, Tensor]:
    """Those tensors of some weight files that have one of the names; of safetensors nothing else is read.

    Parameters
    ----------
    paths
        Weight files.
    names
        Of the tensors.

    Raises
    ------
    CheckpointError
        If a file is damaged.
    """
    wanted = set(names)
    tensors: dict[str, Tensor] = {}
    for path in paths:
        if path.suffix != ".safetensors":
            tensors |= {name: value for name, value in read_weights([path]).items() if name in wanted}
            continue
        try:
            with safe_open(path, framework="pt") as file:
                tensors |= {name: file.get_tensor(name) for name in sorted(wanted & set(file.keys()))}
        except (SafetensorError, OSError) as error:
            raise CheckpointError(
                f"{path} is not a whole safetensors file ({error}); fetch it again"
            ) from error
    return tensors


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path} is not a whole safetensors file ({error}); fetch it again") from error


def read_torch(
    path: Path, plain: Sequence[type] = (), *, mapped: bool = False, content: IO[bytes] | None = None
) -> dict[str, Any]:
    """Content of a ``.pt``, ``.ckpt`` or ``.bin`` file; nothing but tensors and plain containers is built.

    Parameters
    ----------
    path
        The file.
    plain
        Further classes that hold values and run nothing, such as ``argparse.Namespace``.
    mapped
        Leave the tensors on disk until they are used (a memory map).
    content
        Read this instead of the file, which is then only named in messages.

    Raises
    ------
    CheckpointError
        If it is damaged, or asks for anything else to be run or built.
    """
    try:
        with torch.serialization.safe_globals(list(plain)):
            loaded = torch.load(
                path if content is None else content,
                map_location="cpu",
                weights_only=True,
                mmap=True if mapped else None,
            )
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path} holds more than tensors and was not opened, as it could run code; "
            "ask its author for safetensors"
        ) from error
    except Exception as error:  # torch and its unpickler fail on damage in many ways
        raise CheckpointError(f"{path} is not a whole torch file; fetch it again") from error
    if not isinstance(loaded, dict):
        raise CheckpointError(f"{path} holds a {type(loaded).__name__}, not a table of weights")
    return loaded


def check_size(config: CoreConfig, tensors: Mapping[str, Tensor], source: str | Path) -> None:
    """Refuse a config that describes a far larger model than the weights beside it, before it is made.

    Parameters
    ----------
    config
        What is to be made.
    tensors
        The weights.
    source
        Names them in the message.

    Raises
    ------
    CheckpointError
        If the token embedding, learned positions and one matrix a layer hold four times the numbers of all
        weights, and over a million.
    """
    layers = 1 if config.share_layers else config.n_layers
    places = config.max_length * config.d_model if config.position == "learned" else 0
    rows = config.vocab_size + config.n_segments + (config.n_values if config.value_encoder == "bins" else 0)
    least = rows * config.embed_dim + places + layers * config.d_model * config.d_ff
    count = sum(tensor.numel() for tensor in tensors.values())
    if least > 4 * count + (1 << 20):
        raise CheckpointError(
            f"{source} does not fit its config, which describes over {least:,} weights where the files hold "
            f"{count:,}; take both from the same model"
        )


def load_strict(
    module: nn.Module,
    tensors: Mapping[str, Tensor],
    source: str | Path,
    published: Callable[[str], str] = str,
    *,
    assign: bool = False,
) -> None:
    """Put weights into a module; every one used, none missing, all shapes equal.

    ``published`` turns the module's names into those of the file, for the message; ``assign`` makes the
    tensors themselves the module's, in their own number type, instead of copying them.

    Parameters
    ----------
    module
        Gets the weights.
    tensors
        By name.
    source
        Names the file in messages.
    published
        Turns the module's names into those of the file, for messages.
    assign
        Make the tensors themselves the module's, in their own number type, instead of copying them.

    Raises
    ------
    CheckpointError
        Lists what is missing, extra or of another shape.
    """
    wanted = module.state_dict()
    faults = [f"missing {published(name)}" for name in wanted if name not in tensors]
    faults += [f"unexpected {published(name)}" for name in tensors if name not in wanted]
    faults += [
        f"{published(name)} is {tuple(tensors[name].shape)}, not {tuple(tensor.shape)}"
        for name, tensor in wanted.items()
        if name in tensors and tensors[name].shape != tensor.shape
    ]
    if faults:
        more = f" and {len(faults) - 8} more" if len(faults) > 8 else ""
        raise CheckpointError(f"{source} does not fit its config: {'; '.join(faults[:8])}{more}")
    module.load_state_dict(dict(tensors), assign=assign)


def write_weights(path: Path, tensors: Mapping[str, Tensor], header: Mapping[str, str] | None = None) -> None:
    """Write a safetensors file, whole or not at all; ``header`` go into its header.

    Parameters
    ----------
    path
        Of the file.
    tensors
        By name.
    header
        Entries of the header.

    Raises
    ------
    OSError
        If it cannot be written, to a full disk say.
    """
    whole = {name: tensor.detach().contiguous().cpu() for name, tensor in tensors.items()}
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.touch()
        mode = temporary.stat().st_mode & 0o777
        save_file(whole, temporary, metadata={"format": "pt", **(header or {})})
        # The library makes a file that no other user may read.
        temporary.chmod(mode)
        temporary.replace(path)
    except SafetensorError as error:
        # The library puts the system's error into its text.
        code = re.search(r"os error (\d+)", str(error))
        raise OSError(int(code[1]) if code else None, str(error), str(path)) from error
    finally:
        temporary.unlink(missing_ok=True)


def hash_files(paths: Iterable[Path]) -> str:
    """sha256 over the content of some files, in the order given."""
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            while chunk := file.read(1 << 22):
                digest.update(chunk)
    return digest.hexdigest()
