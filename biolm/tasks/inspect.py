"""What a checkpoint holds: config, parameters by matrix, genes, hashes; nothing is run.

Shapes are read from the headers of safetensors files; torch is imported for ``.bin`` and ``.pt`` only.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from biolm.errors import BiolmError, CheckpointError, ConfigError
from biolm.io.json_file import read_json
from biolm.models.model import CellModel
from biolm.models.registry import load, load_tokenizer, resolve

if TYPE_CHECKING:
    from biolm.core.accounting import Account

__all__ = ["CheckpointReport", "Matrix", "inspect_checkpoint"]

# The first of these that a folder holds are its weights; files beside them may hold other tensors.
_WEIGHTS = (
    ("model.safetensors", "model-*.safetensors"),
    ("pytorch_model*.bin",),
    ("*.pt",),
    ("*.safetensors",),
)
# What a matrix is for, by words that its name holds, tried in this order; layers carry a number.
_ROLES = (
    ("norm", r"norm|\bln_|layer_norm"),
    ("attention", r"\*.*(att|query|key|value|qkv|[qkvo]_proj|in_proj|out_proj)"),
    ("feed-forward", r"\*.*(dense|linear|mlp|fc|ffn|gate|up_proj|down_proj|intermediate)"),
    ("head", r"^(cls|lm_head|classifier|score|head)|decoder"),
    ("embedding", r"emb|wte|wpe|value_encoder|vectors"),
)
_CONFIGS = ("config.json", "args.json")


@dataclass(frozen=True, slots=True, kw_only=True)
class Matrix:
    """Tensors of one name in all layers.

    Parameters
    ----------
    name
        Key in the checkpoint with ``*`` for the number of the layer.
    shape
        Sizes of one of them.
    count
        How many layers hold it.
    """

    name: str
    shape: tuple[int, ...]
    count: int

    @property
    def parameters(self) -> int:
        """Numbers in all of them."""
        return self.count * math.prod(self.shape)

    @property
    def role(self) -> str:
        """``norm``, ``attention``, ``feed-forward``, ``head``, ``embedding`` or ``other``, by its name."""
        return next((role for role, words in _ROLES if re.search(words, self.name.lower())), "other")


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointReport:
    """What a checkpoint holds.

    Parameters
    ----------
    name
        The system that reads it.
    source
        Folder, or the built-in name.
    config
        What the checkpoint says about its shape.
    matrices
        Tensors by name, layers together.
    genes
        Genes of its vocabulary; None for a model of sequences and where they cannot be read.
    note
        What a model of sequences reads, or why genes cannot be read.
    account
        Matrices by role, counted from the config; None where the config is of no known family.
    hashes
        sha256 of each file.
    """

    name: str
    source: str
    config: dict[str, Any]
    matrices: tuple[Matrix, ...]
    genes: int | None
    hashes: dict[str, str]
    note: str = ""
    account: Account | None = None

    @property
    def textbook(self) -> int | None:
        """Parameters as textbooks count them: matrices alone, an unembedding even where it is tied."""
        return None if self.account is None else self.account.matrices

    @property
    def parameters(self) -> int:
        """Numbers in all tensors."""
        return sum(matrix.parameters for matrix in self.matrices)

    @property
    def roles(self) -> dict[str, int]:
        """Numbers by what they are for, the most first."""
        sums: dict[str, int] = {}
        for matrix in self.matrices:
            sums[matrix.role] = sums.get(matrix.role, 0) + matrix.parameters
        return dict(sorted(sums.items(), key=lambda item: -item[1]))

    def as_dict(self) -> dict[str, Any]:
        """The report as JSON holds it."""
        matrices = [
            asdict(matrix) | {"role": matrix.role, "parameters": matrix.parameters}
            for matrix in self.matrices
        ]
        return asdict(self) | {"matrices": matrices, "parameters": self.parameters, "roles": self.roles}

    def as_text(self) -> str:
        """The report as people read it."""
        lines = [f"{self.source}: {self.name}"]
        if self.matrices:
            lines.append(f"parameters  {self.parameters:,}")
            lines += [f"  {role:12}  {count:,}" for role, count in self.roles.items()]
        lines.append(f"genes       {self.note if self.genes is None else format(self.genes, ',')}")
        lines += ["", "config"]
        lines += [f"  {key}: {json.dumps(value)}" for key, value in self.config.items()]
        if self.account is not None:
            lines += ["", "counted from the config (layers x shape = parameters)"]
            lines += _rows([(row.role, row.count, row.shape, row.parameters) for row in self.account.rows])
            lines += [f"  matrices alone, as textbooks count  {self.account.matrices:,}"]
            lines += [f"  exact, tied weights once            {self.account.exact:,}"]
        if self.matrices:
            lines += ["", "tensors of the files (layers x shape = parameters)"]
            lines += _rows([(one.name, one.count, one.shape, one.parameters) for one in self.matrices])
        lines += ["", "sha256"] if self.hashes else []
        lines += [f"  {value}  {name}" for name, value in self.hashes.items()]
        return "\n".join(lines)


def _rows(rows: list[tuple[str, int, tuple[int, ...], int]]) -> list[str]:
    """Name, count, shape and parameters in columns."""
    width = max(len(name) for name, *_ in rows)
    return [
        f"  {name:{width}}  {count} x ({' x '.join(map(str, shape)) or '1'}) = {parameters:,}"
        for name, count, shape, parameters in rows
    ]


def inspect_checkpoint(name_or_folder: str | Path) -> CheckpointReport:
    """Read what a checkpoint holds, without building the model where that can be avoided.

    A ``config.json`` alone will do, to count the parameters of a model before there is one.

    Raises
    ------
    ConfigError, CheckpointError
        If it is not known, or its files are damaged.
    """
    path = Path(name_or_folder)
    if path.suffix == ".json" and path.is_file():
        return _config_alone(path)
    entry, folder = resolve(name_or_folder)
    if folder is None:
        return _built_in(entry.name)
    alone = folder.is_file()
    files = [folder] if alone else sorted(path for path in folder.iterdir() if path.is_file())
    weights = files if alone else _weights(folder)
    shapes = dict(shape for path in weights for shape in _shapes(path))
    genes, note, config = _genes(folder)
    return CheckpointReport(
        name=entry.name,
        source=str(folder),
        config=_config(folder) or config,
        matrices=tuple(_by_name(shapes)),
        genes=genes,
        note=note,
        account=_account(_config(folder)),
        hashes={path.name: _sha256(path) for path in files},
    )


def _built_in(name: str) -> CheckpointReport:
    """Report on a model that loads by its name: what it says about itself, and what it holds."""
    model = cast(CellModel, load(name))
    metadata = model.describe()
    core = getattr(model, "core", None)
    parameters = (
        # Models without layers are one table of vectors.
        core.named_parameters() if core is not None else [("vectors", getattr(model, "vectors", None))]
    )
    return CheckpointReport(
        name=name,
        source=name,
        config=_facts(model),
        matrices=tuple(_by_name({key: tuple(array.shape) for key, array in parameters if array is not None})),
        genes=len(model.vocabulary.genes),
        hashes={key: str(value) for key, value in metadata.items() if "sha256" in key},
    )


def _config_alone(path: Path) -> CheckpointReport:
    """Report on a config without weights."""
    config = read_json(path)
    counted = _account(config)
    if counted is None:
        raise ConfigError(f"{path} is of no family that biolm knows, or an impossible config of one")
    return CheckpointReport(
        name=str(config.get("model_type")),
        source=str(path),
        config=config,
        matrices=(),
        genes=None,
        note="none in a config",
        account=counted,
        hashes={path.name: _sha256(path)},
    )


def _account(config: dict[str, Any]) -> Account | None:
    """Count from the config of a known family."""
    from biolm.models.families.hf import FAMILIES, family, type_of

    # Systems of cells have configs of their own; those are not counted from.
    if type_of(config) not in FAMILIES:
        return None
    from biolm.core.accounting import account

    try:
        return account(family(type_of(config)).core_config(config))
    except (BiolmError, KeyError):
        return None


def _weights(folder: Path) -> list[Path]:
    """The weight files of a folder."""
    for patterns in _WEIGHTS:
        files = sorted(path for pattern in patterns for path in folder.glob(pattern))
        if files:
            return files
    return []


def _shapes(path: Path) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Names and shapes of the tensors of a weight file."""
    if path.suffix == ".safetensors":
        yield from _safetensors_shapes(path)
        return
    from biolm.core.checkpoint import read_torch

    for name, tensor in _flat(read_torch(path)):
        yield name, tuple(tensor.shape)


def _flat(content: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Tensors of nested dictionaries, as training scripts save them."""
    for name, value in content.items():
        if hasattr(value, "shape"):
            yield prefix + name, value
        elif isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")


def _safetensors_shapes(path: Path) -> Iterator[tuple[str, tuple[int, ...]]]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            for name in file.keys():  # noqa: SIM118  # no iterator
                yield name, tuple(file.get_slice(name).get_shape())
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path} is not a whole safetensors file ({error}); fetch it again") from error


def _by_name(shapes: dict[str, tuple[int, ...]]) -> Iterator[Matrix]:
    """Put the layers of one matrix together, in the order of the file's names."""
    groups: dict[tuple[str, tuple[int, ...]], int] = {}
    for name, shape in sorted(shapes.items()):
        # By shape too: layers of one name that differ in width are two matrices.
        key = (re.sub(r"(?<=\.)\d+(?=\.)", "*", name), shape)
        groups[key] = groups.get(key, 0) + 1
    for (name, shape), count in groups.items():
        yield Matrix(name=name, shape=shape, count=count)


def _config(folder: Path) -> dict[str, Any]:
    """The config of a folder; empty for a single file, which keeps its own inside."""
    file = next((folder / name for name in _CONFIGS if (folder / name).is_file()), None)
    return {} if file is None else read_json(file)


def _genes(folder: Path) -> tuple[int | None, str, dict[str, Any]]:
    """Genes of the vocabulary, or why not, as damaged checkpoints are what people inspect; other facts."""
    try:
        preprocessor = load_tokenizer(folder)
    except BiolmError as error:
        return None, f"cannot be read: {error}", {}
    if isinstance(preprocessor, CellModel):  # of a system that writes no tokens
        return len(preprocessor.vocabulary), "", _facts(preprocessor)
    return preprocessor.n_genes, preprocessor.instead, {}


def _facts(model: CellModel) -> dict[str, Any]:
    """What a model says about itself, without hashes."""
    return {key: value for key, value in model.describe().items() if "sha256" not in key}


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
