"""scConcept (theislab): genes ranked by count, an encoder trained by contrasting gene panels.

A folder holds ``model.ckpt``, ``config.yaml`` (or ``config.json``) and ``gene_mappings/SPECIES.csv`` with the
columns ``gene_id`` and ``token``. A gene's embedding goes through a linear map and a norm, the cls embedding
is put in after the norm, and stored sinusoids of the rank are added. A cell's vector is the cls state,
projected where the checkpoint has a projection, scaled to length 1. There is no final norm.

Dimensions: ``t`` tokens of a batch · ``b`` cells · ``d`` width · ``e`` width of a gene's embedding.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from biolm.adapters.cells.rank import RankTokenizer
from biolm.batch import Batch
from biolm.core import CoreConfig, Transformer
from biolm.core.checkpoint import check_size, load_strict, read_torch
from biolm.core.embeddings import sinusoid
from biolm.core.parts import Part
from biolm.errors import CheckpointError, ConfigError, InputError
from biolm.io.json_file import read_json
from biolm.io.yaml_file import read_yaml
from biolm.models.families.keys import Key, KeyTable, Rows, qkv
from biolm.models.model import EmbedOptions
from biolm.models.preprocessor import CellPreprocessor
from biolm.models.running import pooled
from biolm.models.systems.cell_folders import check_rows
from biolm.models.token_model import TokenCellModel
from biolm.vocab.genes import GeneVocabulary
from biolm.vocab.published import PublishedRule

__all__ = ["ScConcept", "clip_loss", "load", "load_tokenizer", "read_core", "recognises", "two_way_loss"]

_WEIGHTS, _GENES = "model.ckpt", "gene_mappings"
_CLS, _SPECIAL = 0, ("<cls>", "<pad>")
_LONGEST = 1000  # genes that the published configuration reads
_LAYER = "transformer_encoder.layers.{}"
_KEYS = KeyTable(
    [
        Key("cls_embedding", "embeddings.cls"),
        Key("gene_token_encoder.learnable_embs.own.weight", "embeddings.token.weight"),
        Key("gene_token_encoder.adapter2.*", "embeddings.adapter.*"),
        Key("gene_token_encoder.enc_norm.*", "embeddings.norm.*"),
        Key("positional_encoder.pe", "embeddings.position"),
        Key(f"{_LAYER}.self_attn.Wqkv.*", qkv(), Rows()),
        Key(f"{_LAYER}.self_attn.out_proj.*", "layers.{}.attention.out.*"),
        Key(f"{_LAYER}.linear1.*", "layers.{}.mlp.up.*"),
        Key(f"{_LAYER}.linear2.*", "layers.{}.mlp.down.*"),
        Key(f"{_LAYER}.norm1.*", "layers.{}.attn_norm.*"),
        Key(f"{_LAYER}.norm2.*", "layers.{}.mlp_norm.*"),
    ]
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RankOptions:
    """Width of a gene's embedding before it is mapped; None for that of the model."""

    inner: int | None = None


class RankEmbeddings(nn.Module):
    """Gene embedding, map, norm; the cls embedding in its place; the sinusoid of the rank."""

    position: Tensor

    def __init__(self, config: CoreConfig, options: RankOptions) -> None:
        super().__init__()
        width, inner = config.d_model, options.inner or config.d_model
        self.token = nn.Embedding(config.vocab_size, inner)
        self.adapter, self.norm = nn.Linear(inner, width), nn.LayerNorm(width)
        self.cls = nn.Parameter(torch.zeros(width))
        table = torch.zeros(1, config.max_length, width)
        table[0, :, 0::2], table[0, :, 1::2] = sinusoid(torch.arange(config.max_length), width).chunk(2, 1)
        self.register_buffer("position", table)

    def check(self, batch: Batch) -> None:
        """Refuse a cell that is longer than the table of positions."""
        if batch.max_length > self.position.shape[1]:
            raise InputError(f"a cell has {batch.max_length} tokens but the model {self.position.shape[1]}")

    def forward(self, batch: Batch) -> Tensor:
        """``(t, d)``."""
        self.check(batch)
        x = self.norm(self.adapter(self.token(batch.ids)))
        x = torch.where((batch.positions == 0)[:, None], self.cls.to(x.dtype), x)
        embedded: Tensor = x + self.position[0, batch.positions]
        return embedded


RANKED_GENES = Part(name="ranked_genes", kind="embedder", factory=RankEmbeddings, options=RankOptions)


class ScConcept(TokenCellModel):
    """scConcept with the projection in which its contrast was taken."""

    def __init__(
        self, preprocessor: CellPreprocessor, core: Transformer, projection: Tensor, path: Path
    ) -> None:
        super().__init__(preprocessor, core, pool="cls_l2", hidden_state=-1, files=[path])
        self.projection = projection
        self.width = len(projection)
        self.pools = ("cls_l2",)  # other pools have another width

    @torch.inference_mode()
    def _vectors(self, batch: Batch, options: EmbedOptions) -> Tensor:
        first = pooled(self.core, batch, self.hidden_state, options, "cls")
        return nn.functional.normalize(first @ self.projection.to(first).T, dim=1)


def clip_loss(first: Tensor, second: Tensor, scale: float, kept: Tensor | None = None) -> Tensor:
    """Contrast of two panels of the same cells ``(b, d)``, each direction in turn.

    As published, cells that are not ``kept`` have logits of 0 rather than none, and count in no mean.

    Parameters
    ----------
    first, second
        ``(b, d)`` vectors of the two panels of the same cells.
    scale
        Of the cosines.
    kept
        ``(b,)`` cells that count; all if None.
    """
    logits = scale * nn.functional.normalize(first, dim=1) @ nn.functional.normalize(second, dim=1).T
    kept = torch.ones(len(logits), dtype=torch.bool, device=logits.device) if kept is None else kept
    logits = logits * (kept[:, None] & kept)
    own = torch.arange(len(logits), device=logits.device)[kept]
    halves = [nn.functional.cross_entropy(rows[kept], own) for rows in (logits, logits.T)]
    return (halves[0] + halves[1]) / 2


def two_way_loss(first: Tensor, second: Tensor, scale: float) -> Tensor:
    """Contrast of both panels with all other cells of both; as published, a view with itself has logit 0.

    Parameters
    ----------
    first, second
        ``(b, d)`` vectors of the two panels of the same cells.
    scale
        Of the cosines.
    """
    a, b = (nn.functional.normalize(x, dim=1) for x in (first, second))
    logits = scale * torch.cat((a, b)) @ torch.cat((b, a)).T
    n, places = len(a), torch.arange(2 * len(a), device=a.device)
    logits = logits * (places[:, None] != places.roll(n))
    return nn.functional.cross_entropy(logits, places)


def recognises(folder: Path) -> bool:
    """Whether a folder is laid out as scConcept publishes its checkpoints."""
    return (folder / _WEIGHTS).is_file() and (folder / _GENES).is_dir()


def _settings(folder: Path) -> dict[str, Any]:
    """The model's part of ``config.yaml`` or ``config.json``."""
    path = folder / "config.yaml"
    content = read_yaml(path) if path.is_file() else read_json(folder / "config.json")
    settings = content.get("model", content)
    if not isinstance(settings, dict):
        raise CheckpointError(f"{path} holds no settings of a model; fetch it again")
    return settings


def load_tokenizer(folder: Path, *, species: str | None = None) -> CellPreprocessor:
    """Genes and tokeniser of a folder; the weights are not touched.

    Parameters
    ----------
    folder
        Of the checkpoint.
    species
        Whose genes are read.

    Raises
    ------
    CheckpointError, ConfigError
        If the gene mapping is missing or damaged, or several species are there and none is named.
    """
    path = _mapping(folder, species)
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    try:
        tokens = {row["gene_id"]: int(row["token"]) for row in rows if row["gene_id"] not in _SPECIAL}
    except (KeyError, ValueError, TypeError) as error:
        raise CheckpointError(f"{path} lacks the columns gene_id and token; fetch it again") from error
    if not tokens:
        raise CheckpointError(f"{path} names no genes; fetch it again")
    longest = min(int(_settings(folder).get("pe_max_len", _LONGEST + 1)), _LONGEST + 1)
    tokenizer = RankTokenizer(
        token_ids=np.array(list(tokens.values()), np.int32),
        medians=np.ones(len(tokens)),  # plain counts rank the genes
        max_length=longest,
        cls_id=_CLS,
    )
    return CellPreprocessor(
        name="scconcept",
        vocabulary=GeneVocabulary.of(list(tokens)),
        tokenizer=tokenizer,
        special=(1, 0),
        files=(path,),
        published=PublishedRule(system="scConcept", column="index"),
    )


def _mapping(folder: Path, species: str | None) -> Path:
    known = sorted(path.stem for path in (folder / _GENES).glob("*.csv"))
    if not known:
        raise CheckpointError(f"{folder} holds no {_GENES}/SPECIES.csv; copy it from theislab/scConcept")
    if species is None and len(known) > 1:
        raise ConfigError(
            f"this scConcept reads {', '.join(known)}: say which, as in 'FOLDER?species={known[0]}'"
        )
    if species is not None and species not in known:
        raise ConfigError(f"this scConcept reads no {species!r} but {', '.join(known)}")
    return folder / _GENES / f"{species or known[0]}.csv"


def read_core(path: Path, settings: dict[str, Any], species: str) -> tuple[Transformer, Tensor | None]:
    """The core with its weights, strictly, and the projection.

    Parameters
    ----------
    path
        Of the checkpoint.
    settings
        Stored beside the weights.
    species
        Whose genes are read.

    Raises
    ------
    CheckpointError, ConfigError
        If a weight is missing, extra or mis-shaped, or the checkpoint is of a kind that is not read.
    """
    # Other encodings have further weights, so refusing them by name is clearer than by shape.
    encoding = settings.get("input_encoding", "rank_encoding")
    if encoding != "rank_encoding":
        raise ConfigError(
            f"scConcept with input_encoding {encoding!r} is not supported; only rank_encoding is"
        )
    checkpoint = read_torch(path)
    tensors = dict(checkpoint.get("state_dict", checkpoint.get("model", checkpoint)))
    tables = "gene_token_encoder.learnable_embs."
    others = [name for name in tensors if name.startswith(tables) and name != f"{tables}{species}.weight"]
    own = tensors.pop(f"{tables}{species}.weight", None)
    if own is None:
        raise CheckpointError(
            f"{path} has no genes of {species}; its tables are {', '.join(others) or 'none'}"
        )
    # Other species' genes, the contrast's temperature and the pretraining decoder make no vector.
    for name in [*others, "logit_scale", *(name for name in tensors if name.startswith("decoder."))]:
        tensors.pop(name, None)
    projection = tensors.pop("projection.weight", None)
    try:
        config = CoreConfig(
            vocab_size=len(own),
            d_model=settings["dim_model"],
            n_layers=settings["nlayers"],
            n_heads=settings["num_head"],
            d_ff=settings["dim_hid"],
            max_length=settings["pe_max_len"],
            position="none",
            block=settings["norm_scheme"],
            activation=settings["activation"],
            final_norm=False,
            embedder=RANKED_GENES.name,
            part_options={RANKED_GENES.name: {"inner": own.shape[1]}},
        )
    except KeyError as error:
        raise CheckpointError(
            f"the settings beside {path} lack the field {error}; fetch them again"
        ) from error
    check_size(config, tensors, path)
    core = Transformer(config)
    tensors[f"{tables}own.weight"] = own
    load_strict(core, _KEYS.theirs_to_ours(tensors, config, path), path)
    return core.eval(), projection


def load(folder: Path, *, species: str | None = None) -> TokenCellModel:
    """Load a folder, strictly.

    Parameters
    ----------
    folder
        Of a checkpoint.
    species
        Whose genes are read, such as ``hsapiens``; the only one by default.

    Raises
    ------
    CheckpointError, ConfigError
        If a file or weight is missing, extra, mis-shaped or unsafe, or the species is unknown.
    """
    preprocessor, path = load_tokenizer(folder, species=species), folder / _WEIGHTS
    core, projection = read_core(path, _settings(folder), _mapping(folder, species).stem)
    top = int(preprocessor.tokenizer.token_ids.max())  # type: ignore[attr-defined]  # RankTokenizer
    check_rows(preprocessor.files[0], top, path, core.config.vocab_size)
    if projection is not None:
        return ScConcept(preprocessor, core, projection, path)
    return TokenCellModel(preprocessor, core, pool="cls_l2", hidden_state=-1, files=[path])
