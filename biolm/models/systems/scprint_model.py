"""scPRINT's embeddings on the shared core, the names of its weights, and its mean over classes.

Dimensions: ``t`` tokens of a batch · ``b`` cells · ``d`` width.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from biolm.batch import Batch
from biolm.core import CoreConfig, Transformer
from biolm.core.checkpoint import check_size, load_strict
from biolm.core.parts import Part
from biolm.errors import CheckpointError, ConfigError, InputError
from biolm.models.families.keys import Key, KeyTable, Rows
from biolm.models.model import EmbedOptions
from biolm.models.preprocessor import CellPreprocessor
from biolm.models.running import states_of
from biolm.models.token_model import TokenCellModel

__all__ = ["ClassEmbeddings", "Scprint", "class_rows", "read_core"]

CLASSES = ("cell_type", "disease", "self_reported_ethnicity", "sex")
"""Those whose states the published command averages; their names end in ``_ontology_term_id``."""
_ENDING = "_ontology_term_id"
# What makes no vector: decoders, and the discriminator of batches.
_UNREAD = ("expr_decoder.", "mvc_decoder.", "cls_decoders.", "grad_reverse_discriminator_loss.")
_LAYER = "transformer.blocks.{}"
_ENCODERS = (("expr_encoder", "value"), ("depth_encoder", "depth"))
KEYS = KeyTable(
    [
        Key(
            "gene_encoder.embedding.weight",
            "embeddings.token.weight",
            also=("gene_encoder.embeddings.weight",),
        ),
        Key("class_encoder.embedding.weight", "embeddings.label.weight"),
        # Their fourth module is dropout.
        *(
            Key(f"{theirs}.encoder.{place}.*", f"embeddings.{ours}.{min(place, 3)}.*")
            for theirs, ours in _ENCODERS
            for place in (0, 1, 4)
        ),
        Key("pos_encoder.pe", "embeddings.place", when=lambda config: _options(config)["places"]),
        Key(
            f"{_LAYER}.mixer.Wqkv.*",
            tuple(f"layers.{{}}.attention.{name}.*" for name in ("query", "key", "value")),
            Rows(),
        ),
        Key(f"{_LAYER}.mixer.out_proj.*", "layers.{}.attention.out.*"),
        Key(f"{_LAYER}.norm1.*", "layers.{}.attn_norm.*"),
        Key(f"{_LAYER}.norm2.*", "layers.{}.mlp_norm.*"),
        Key(f"{_LAYER}.mlp.fc1.*", "layers.{}.mlp.up.*"),
        Key(f"{_LAYER}.mlp.fc2.*", "layers.{}.mlp.down.*"),
        Key("transformer.norm.*", "final_norm.*"),
    ]
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassOptions:
    """Genes, tokens of classes, and whether places in the genome are added."""

    genes: int
    labels: int
    places: bool = False


class ClassEmbeddings(nn.Module):
    """Genes with values and places, tokens of classes, and the encoded depth."""

    def __init__(self, config: CoreConfig, options: ClassOptions) -> None:
        super().__init__()
        width, self.genes, self.labels = config.d_model, options.genes, options.labels
        self.token, self.label = nn.Embedding(self.genes, width), nn.Embedding(self.labels, width)
        self.value, self.depth = (
            nn.Sequential(nn.Linear(1, width), nn.LayerNorm(width), nn.ReLU(), nn.Linear(width, width))
            for _ in range(2)
        )
        self.place: Tensor | None
        self.register_buffer("place", torch.zeros(self.genes, 1, width) if options.places else None)

    def forward(self, batch: Batch) -> Tensor:
        """``(t, d)``.

        Raises
        ------
        InputError
            If the batch has no values.
        """
        if batch.values is None:
            raise InputError("scPRINT reads values beside the ids; give Batch.values")
        values = batch.values.to(self.label.weight.dtype)[:, None]
        rows, behind = batch.ids.clamp(max=self.genes - 1), batch.ids - self.genes
        x = self.token(rows) + self.value(values)
        if self.place is not None:
            x = x + self.place[rows, 0]
        x = torch.where((behind < 0)[:, None], x, self.label(behind.clamp(0, self.labels - 1)).to(x.dtype))
        depth = behind == self.labels
        return x.masked_scatter(depth[:, None], self.depth(values[depth]).to(x.dtype))


GENES_AND_CLASSES = Part(
    name="genes_and_classes", kind="embedder", factory=ClassEmbeddings, options=ClassOptions
)


def _options(config: CoreConfig) -> dict[str, Any]:
    return config.part_options[GENES_AND_CLASSES.name]


class Scprint(TokenCellModel):
    """The core with embeddings of its own; a cell's vector is the mean state of some classes.

    Parameters
    ----------
    preprocessor, core, files, options
        See :class:`~biolm.models.token_model.TokenCellModel`.
    rows
        Places of the classes that are averaged, behind a cell's first token.
    """

    def __init__(
        self,
        preprocessor: CellPreprocessor,
        core: Transformer,
        rows: tuple[int, ...],
        files: list[Path],
        options: dict[str, Any],
    ) -> None:
        super().__init__(preprocessor, core, pool="cls", hidden_state=-1, files=files, options=options)
        self.rows, self.pools = rows, ("classes", *self.pools)

    def batch_vectors(self, core: Transformer, batch: Batch, options: EmbedOptions) -> Tensor:
        """Vectors ``(b, d)`` of one batch; see :class:`~biolm.models.token_model.TokenCellModel`."""
        if (options.pool or self.pools[0]) != "classes":
            return super().batch_vectors(core, batch, options)
        places = batch.offsets[:-1].long()[:, None] + torch.tensor(self.rows, device=batch.ids.device)
        if options.hidden_state not in (None, -1):
            return states_of(core, batch, options.hidden_state, options)[places].mean(1)
        states = states_of(core, batch, -1, options, only=places.flatten())
        return states.view(*places.shape, -1).mean(1)


def class_rows(settings: Mapping[str, Any], classes: str) -> tuple[int, ...]:
    """Places of the classes to average; the token of the cell's state is the first, and has place 0.

    Parameters
    ----------
    settings
        Hyper-parameters of the checkpoint.
    classes
        Names with commas between; empty for those of the published command.

    Raises
    ------
    ConfigError
        If the model has no such class.
    """
    known = [str(name).removesuffix(_ENDING) for name in settings["classes"]]
    chosen = [name.strip().removesuffix(_ENDING) for name in classes.split(",")] if classes else CLASSES
    for name in chosen:
        if name not in known:
            raise ConfigError(
                f"this scPRINT has no class {name} but {', '.join(known)}; say 'FOLDER?classes=NAME,NAME'"
            )
    return tuple(1 + known.index(name) for name in chosen)


def read_core(path: Path, stored: Mapping[str, Tensor], settings: Mapping[str, Any]) -> Transformer:
    """The core with its weights, strictly.

    Parameters
    ----------
    path
        Of the checkpoint.
    stored
        Its weights.
    settings
        Its hyper-parameters.

    Raises
    ------
    CheckpointError
        If a weight or hyper-parameter is missing, extra or mis-shaped.
    """
    tensors = {name: tensor for name, tensor in stored.items() if not name.startswith(_UNREAD)}
    place = tensors.get("pos_encoder.pe")
    if place is not None and place.dim() == 2:  # as some releases wrote it
        tensors["pos_encoder.pe"] = place[:, None]
    genes, labels = len(settings["genes"]), len(settings["classes"]) + 1
    options = {"genes": genes, "labels": labels, "places": bool(settings.get("gene_pos_enc"))}
    try:
        config = CoreConfig(
            vocab_size=genes + labels + 1,
            d_model=settings["d_model"],
            n_layers=settings["nlayers"],
            n_heads=settings["nhead"],
            n_kv_heads=settings.get("num_heads_kv") or 0,
            d_ff=int(settings["d_model"] * settings.get("mlp_ratio", 4)),
            position="none",
            norm_eps=1e-6,
            embedder=GENES_AND_CLASSES.name,
            part_options={GENES_AND_CLASSES.name: options},
        )
    except KeyError as error:
        raise CheckpointError(f"the hyper_parameters of {path} lack {error}; fetch it again") from error
    check_size(config, tensors, path)
    core = Transformer(config)
    load_strict(core, KEYS.theirs_to_ours(tensors, config, path), path)
    return core
