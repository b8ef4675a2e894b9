"""The encoder of Nicheformer, and its pooling over unused positions.

Dimensions: ``b`` cells of a batch · ``s`` context length · ``t`` tokens · ``d`` width · ``v`` vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from biolm.batch import Batch
from biolm.core import CoreConfig, Transformer
from biolm.core.attention import Attention
from biolm.core.checkpoint import check_size, load_strict, read_torch
from biolm.core.kernels import attend
from biolm.core.layout import Layout, Rule
from biolm.errors import CheckpointError, ConfigError
from biolm.models.families.keys import Key, KeyTable, Rows, dropped, qkv
from biolm.models.model import EmbedOptions
from biolm.models.running import layers_for
from biolm.models.systems.nicheformer import CONTEXT, FIRST_GENE, PAD, WEIGHTS, load_tokenizer
from biolm.models.token_model import TokenCellModel

__all__ = ["Nicheformer", "UnseenPads", "load_model"]

PUBLISHED = ("published", "published_context")
_LAYER = "encoder.layers.{}"
KEYS = KeyTable(
    [
        Key("embeddings.weight", "embeddings.token.weight"),
        Key("positional_embedding.weight", "embeddings.position.weight"),
        Key(f"{_LAYER}.self_attn.in_proj_*", qkv(), Rows()),
        Key(f"{_LAYER}.self_attn.out_proj.*", "layers.{}.attention.out.*"),
        Key(f"{_LAYER}.linear1.*", "layers.{}.mlp.up.*"),
        Key(f"{_LAYER}.linear2.*", "layers.{}.mlp.down.*"),
        Key(f"{_LAYER}.norm1.*", "layers.{}.attn_norm.*"),
        Key(f"{_LAYER}.norm2.*", "layers.{}.mlp_norm.*"),
        # The layer that torch copied to make the others, and heads of objectives that were not released.
        *dropped(
            "encoder_layer.self_attn.in_proj_*",
            *(f"encoder_layer.{name}.*" for name in ("self_attn.out_proj", "linear1", "linear2")),
            *(f"encoder_layer.{name}.*" for name in ("norm1", "norm2")),
            "pooler_head.*",
            "cls_head.*",
        ),
    ]
)


class UnseenPads:
    """Attention in which pads ask and are never seen, as a cache of the core's forward pass.

    Parameters
    ----------
    seen
        ``(t,)`` bool: tokens that are keys.
    """

    def __init__(self, seen: Tensor) -> None:
        self.seen = seen
        self.layout: Layout | None = None

    def open(self, batch: Batch) -> Sequence[Any]:
        """The same object for every layer."""
        counts = self.seen.long().cumsum(0)
        ends = torch.where(batch.offsets > 0, counts[(batch.offsets.long() - 1).clamp(min=0)], 0)
        places = batch.positions[self.seen]
        self.layout = Layout(
            batch.offsets, ends.int(), batch.positions, places, batch.max_length, batch.max_length
        )
        # One for each layer; no model has so many.
        return [self] * 1000

    def advance(self) -> None:
        """Nothing is kept."""

    def attend(
        self, query: Tensor, key: Tensor, value: Tensor, rule: Rule, *, bias: Any = None, kernel: str = "auto"
    ) -> Tensor:
        """Attention ``(t, h, k)`` of all tokens to those that are seen."""
        assert self.layout is not None
        return attend(query, key[self.seen], value[self.seen], self.layout, rule, bias=bias, kernel=kernel)

    def read(self) -> dict[str, Tensor]:
        """No fixed state."""
        return {}

    def write(self, state: Mapping[str, Tensor]) -> None:
        """No fixed state."""

    def project(self, memory: Tensor, layer: Attention) -> tuple[Tensor, Tensor]:
        """Keys and values of a second stream.

        Parameters
        ----------
        memory
            ``(u, d)`` states of a second stream.
        layer
            Whose keys and values they become.
        """
        return layer.keys_values(memory)


class Nicheformer(TokenCellModel):
    """Encoder, preprocessor and the head of masked tokens."""

    def __init__(
        self,
        preprocessor: Any,
        core: Transformer,
        head: nn.Linear,
        files: list[Path],
        options: dict[str, Any],
    ) -> None:
        super().__init__(preprocessor, core, pool=PUBLISHED[0], hidden_state=-1, files=files, options=options)
        self.pools = (*PUBLISHED, *self.pools[1:])
        self.head = head.eval()

    @torch.inference_mode()
    def _vectors(self, batch: Batch, options: EmbedOptions) -> Tensor:
        how = options.pool or self.pools[0]
        if how not in PUBLISHED:
            return super()._vectors(batch, options)
        length = self.core.config.max_length
        state = self.hidden_state if options.hidden_state is None else options.hidden_state
        out = []
        # Every cell is padded to the context, whatever the budget of tokens was packed for.
        for rows in torch.split(torch.arange(len(batch)), max(1, options.batch_tokens // length)):
            ids = _padded(batch, rows, length)
            out.append(self.padded_states(ids, state)[:, 0 if how == PUBLISHED[1] else 3 :].mean(1))
        return torch.cat(out)

    @torch.inference_mode()
    def padded_states(self, ids: Tensor, hidden_state: int = -1) -> Tensor:
        """Hidden states ``(b, s, d)`` of padded ids ``(b, s)``, of which no pad is seen.

        Parameters
        ----------
        ids
            ``(b, s)`` with pads behind.
        hidden_state
            -1 the last, 0 the embeddings.
        """
        batch = Batch.from_padded(ids)
        cache = UnseenPads(batch.ids != PAD)
        layers = layers_for(self.core, hidden_state)
        output = self.core(batch, logits=False, n_layers=layers, cache=cache)
        states: Tensor = output.last_hidden_state.float()
        return states.view(*ids.shape, -1)

    @torch.inference_mode()
    def token_logits(self, states: Tensor) -> Tensor:
        """Logits of the masked-token objective, from states ``(..., d)`` to ``(..., v)``."""
        return self.head.to(states.device)(states)  # type: ignore[no-any-return]


def _padded(batch: Batch, rows: Tensor, length: int) -> Tensor:
    """Ids ``(b, s)`` of some cells of a batch, padded to the context length."""
    offsets = batch.offsets.tolist()
    ids = batch.ids.new_full((len(rows), length), PAD)
    for place, row in enumerate(rows.tolist()):
        own = batch.ids[offsets[row] : offsets[row + 1]]
        ids[place, : len(own)] = own
    return ids


def load_model(folder: Path, options: dict[str, Any]) -> Nicheformer:
    """Build the model of a folder; see :func:`biolm.models.systems.nicheformer.load`.

    Parameters
    ----------
    folder
        Of the checkpoint.
    options
        As of :func:`biolm.models.systems.nicheformer.load`.
    """
    path = folder / WEIGHTS
    checkpoint = read_torch(path)
    try:
        tensors, shape = dict(checkpoint["state_dict"]), checkpoint["hyper_parameters"]
        config = CoreConfig(
            vocab_size=len(tensors["embeddings.weight"]),
            d_model=shape["dim_model"],
            n_layers=shape["nlayers"],
            n_heads=shape["nheads"],
            d_ff=shape["dim_feedforward"],
            max_length=shape["context_length"],
            norm_eps=1e-12,
            block="post",
            activation="relu",
            position="learned",
            dropout_attention=float(shape.get("dropout", 0.0)),
            dropout_residual=float(shape.get("dropout", 0.0)),
        )
        head = nn.Linear(config.d_model, len(tensors["classifier_head.weight"]))
    except KeyError as error:
        raise CheckpointError(f"{path} lacks {error}; give the file that Nicheformer publishes") from error
    if not shape.get("learnable_pe", True):
        raise ConfigError(f"{path} has fixed positions; only checkpoints with learnable_pe=True are read")
    own = {name: tensors.pop(f"classifier_head.{name}") for name in ("weight", "bias")}
    load_strict(head, own, path)
    check_size(config, tensors, path)
    core = Transformer(config)
    load_strict(core, KEYS.theirs_to_ours(tensors, config, path), path)
    preprocessor = load_tokenizer(folder, **options, context_length=config.max_length)
    genes = len(preprocessor.vocabulary)
    if genes + FIRST_GENE != len(head.weight):
        raise CheckpointError(
            f"{preprocessor.files[0]} lists {genes} genes but {path} knows {len(head.weight) - FIRST_GENE}; "
            "use the order of genes of the same release"
        )
    # Provenance names where the context came from, a column or a value for all cells.
    columns = {name: f"obs['{name}']" for name in CONTEXT}
    return Nicheformer(preprocessor, core, head, [path], columns | options)
