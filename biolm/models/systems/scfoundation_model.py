"""scFoundation's encoder on the shared core, its decoder of another width, and its discretised values.

Dimensions: ``b`` cells of a batch · ``t`` tokens · ``m`` genes · ``d`` width of the encoder · ``w`` of the
decoder · ``k`` bins.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from biolm.batch import Batch
from biolm.core import CoreConfig, Transformer, pool
from biolm.core.attention import Context
from biolm.core.block import Block
from biolm.core.checkpoint import check_size, load_strict, read_torch
from biolm.core.layout import Layout
from biolm.core.norm import LAYER_NORM
from biolm.core.parts import Part
from biolm.errors import CheckpointError, ConfigError, InputError
from biolm.models.families.keys import Key, KeyTable, Rows
from biolm.models.model import EmbedOptions
from biolm.models.preprocessor import CellPreprocessor
from biolm.models.running import states_of
from biolm.models.systems.performer_stack import stack_keys, stack_shape
from biolm.models.token_model import TokenCellModel

__all__ = ["Decoder", "DiscretisedValues", "Scfoundation", "SpecialIds", "read_model"]

_LAYER = "model.encoder.transformer_encoder.{}"
_STACK = "model.decoder.performer.net.layers"
ENCODER_KEYS = KeyTable(
    [
        Key("model.pos_emb.weight", "embeddings.token.weight"),
        Key("model.token_emb.mlp.*", "embeddings.value.mlp.*"),
        Key("model.token_emb.mlp2.*", "embeddings.value.mlp2.*"),
        *(
            Key(f"model.token_emb.{name}.weight", f"embeddings.value.{name}.weight")
            for name in ("emb", "emb_mask", "emb_pad")
        ),
        Key(
            f"{_LAYER}.self_attn.in_proj_*",
            tuple(f"layers.{{}}.attention.{name}.*" for name in ("query", "key", "value")),
            Rows(),
        ),
        Key(f"{_LAYER}.self_attn.out_proj.*", "layers.{}.attention.out.*"),
        Key(f"{_LAYER}.linear1.*", "layers.{}.mlp.up.*"),
        Key(f"{_LAYER}.linear2.*", "layers.{}.mlp.down.*"),
        Key(f"{_LAYER}.norm1.*", "layers.{}.attn_norm.*"),
        Key(f"{_LAYER}.norm2.*", "layers.{}.mlp_norm.*"),
        Key("model.encoder.norm.*", "final_norm.*"),
    ]
)
DECODER_KEYS = KeyTable(
    [
        Key("model.decoder_embed.*", "embed.*"),
        Key("model.decoder.norm.*", "norm.*"),
        Key("model.norm.*", "second_norm.*"),
        Key("model.to_final.*", "to_final.*"),
        *stack_keys(_STACK),
    ]
)
_DECODER_NAMES = ("model.decoder", "model.norm.", "model.to_final.")


class SpecialIds(NamedTuple):
    """Values that stand for no expression."""

    mask: float
    pad: float


class DiscretisedValues(nn.Module):
    """A number as a soft choice among learned bins."""

    def __init__(self, bins: int, width: int, alpha: float, ids: SpecialIds) -> None:
        super().__init__()
        self.mlp, self.mlp2 = nn.Linear(1, bins), nn.Linear(bins, bins)
        self.emb, self.emb_mask, self.emb_pad = (nn.Embedding(n, width) for n in (bins, 1, 1))
        self.alpha, self.ids = alpha, ids

    def weights(self, values: Tensor) -> Tensor:
        """Bins ``(t, k)`` of values ``(t,)``."""
        h = F.leaky_relu(self.mlp(values[:, None]), 0.1)
        return (self.mlp2(h) + self.alpha * h).softmax(-1)  # type: ignore[no-any-return]

    def forward(self, values: Tensor) -> Tensor:
        """``(t,)`` to ``(t, d)``."""
        x = self.weights(values) @ self.emb.weight
        x = torch.where((values == self.ids.mask)[:, None], self.emb_mask.weight, x)
        return torch.where((values == self.ids.pad)[:, None], self.emb_pad.weight, x)


@dataclass(frozen=True, slots=True, kw_only=True)
class DiscretisedOptions:
    """Bins of values, what of the first map is added to the second, and the values of no expression."""

    bins: int = 100
    alpha: float = 1.0
    mask: float = -1.0
    pad: float = -2.0


class DiscretisedGenes(nn.Module):
    """Value and place of a gene; behind the genes stand T, S and padding."""

    def __init__(self, config: CoreConfig, options: DiscretisedOptions) -> None:
        super().__init__()
        ids = SpecialIds(options.mask, options.pad)
        self.token = nn.Embedding(config.vocab_size, config.d_model)
        self.value = DiscretisedValues(options.bins, config.d_model, options.alpha, ids)

    def forward(self, batch: Batch) -> Tensor:
        """``(t, d)``.

        Raises
        ------
        InputError
            If the batch has no values.
        """
        if batch.values is None:
            raise InputError("scFoundation reads values beside the ids; give Batch.values")
        return self.value(batch.values.float()) + self.token(batch.ids)  # type: ignore[no-any-return]


DISCRETISED_GENES = Part(
    name="discretised_genes", kind="embedder", factory=DiscretisedGenes, options=DiscretisedOptions
)


class Decoder(nn.Module):
    """From the states of expressed genes to a vector and a value of every gene."""

    def __init__(self, width: int, config: CoreConfig) -> None:
        super().__init__()
        self.embed = nn.Linear(width, config.d_model)
        self.layers = nn.ModuleList(Block(config, layer) for layer in range(config.n_layers))
        self.norm, self.second_norm = nn.LayerNorm(config.d_model), nn.LayerNorm(config.d_model)
        self.to_final = nn.Linear(config.d_model, 1)

    def forward(self, x: Tensor, cells: int) -> Tensor:
        """Vectors ``(b, m + 2, w)`` from ``(b (m + 2), d)``.

        Parameters
        ----------
        x
            ``(b (m + 2), d)`` all genes of all cells, and two tokens of depth.
        cells
            ``b``.
        """
        length = len(x) // cells
        offsets = torch.arange(cells + 1, dtype=torch.int32, device=x.device) * length
        places = torch.arange(length, device=x.device).repeat(cells)
        context = Context(Layout.of(offsets, places, length))
        x = self.embed(x)
        for layer in self.layers:
            x = layer(x, context)
        return self.second_norm(self.norm(x)).view(cells, length, -1)  # type: ignore[no-any-return]


class Scfoundation(TokenCellModel):
    """Encoder, decoder and preprocessor.

    Parameters
    ----------
    preprocessor, core, files, options
        See :class:`~biolm.models.token_model.TokenCellModel`.
    decoder
        Of another width.
    ids
        Values that stand for no expression.
    """

    def __init__(
        self,
        preprocessor: CellPreprocessor,
        core: Transformer,
        decoder: Decoder,
        files: list[Path],
        options: dict[str, Any],
        ids: SpecialIds,
    ) -> None:
        super().__init__(preprocessor, core, pool="max", hidden_state=-1, files=files, options=options)
        self.decoder, self.ids = decoder.eval(), ids
        self.pools = (options["vector"],)
        self.width = core.config.d_model * (4 if options["vector"] == "all" else 1)

    @torch.inference_mode()
    def _vectors(self, batch: Batch, options: EmbedOptions) -> Tensor:
        how = options.pool or self.pools[0]
        if how not in self.pools:
            raise ConfigError(
                f"pool must be {self.pools[0]}, not {how!r}; say -m 'FOLDER?vector=max' for another vector"
            )
        states, offsets = states_of(self.core, batch, self.hidden_state, options), batch.offsets.long()
        if how == "max":
            return pool(states, offsets, "max")
        ends = offsets[1:]
        genes = [pool(states, offsets, name, skip=(0, 2)) for name in ("max", "mean")]
        return torch.cat([states[ends - 1], states[ends - 2], *genes], 1)

    @torch.inference_mode()
    def decode(self, batch: Batch, values: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Vectors ``(b, m, w)`` of all genes, and expression ``(b, m + 2)`` with T and S behind.

        Parameters
        ----------
        batch
            Tokens of some cells; those of one call share what steadies ``stabiliser="batch"``.
        values
            ``(b, m + 2)`` what the decoder is told of genes that the encoder does not read, such as masks; 0
            by default.
        """
        self.decoder.to(batch.ids.device)
        cells, length = len(batch), len(self.vocabulary) + 2
        states = self.core(batch, logits=False).last_hidden_state
        if values is None:
            values = states.new_zeros(cells, length)
        # Few different values: those of genes that are read are replaced below.
        kinds, places = torch.unique(values.float().flatten(), return_inverse=True)
        x = self.core.embeddings.value(kinds)[places]  # (b (m + 2), d)
        document = torch.repeat_interleave(torch.arange(cells, device=states.device), batch.lengths.long())
        x[document * length + batch.ids] = states
        x = x + self.core.embeddings.token.weight[:length].repeat(cells, 1)
        vectors = self.decoder(x, cells)
        return vectors[:, :-2], self.decoder.to_final(vectors).squeeze(-1)


def read_model(
    path: Path, version: str, *, genes: int, stabiliser: str
) -> tuple[Transformer, Decoder, SpecialIds]:
    """Encoder and decoder of one of the models of a file.

    Parameters
    ----------
    path
        Of the file.
    version
        Which of its models.
    genes
        How many the model knows.
    stabiliser
        Which published behaviour is kept.

    Raises
    ------
    CheckpointError
        If it is not there, or a weight is missing, extra, mis-shaped or unsafe.
    """
    checkpoint = read_torch(path)
    if version not in checkpoint:
        raise CheckpointError(
            f"{path} holds the models {', '.join(checkpoint)}, not {version}; choose one of those"
        )
    tensors = dict(checkpoint[version]["state_dict"])
    try:
        stored, data = (
            checkpoint[version]["config"]["model_config"]["mae_autobin"],
            checkpoint[version]["config"]["dataset_config"],
        )
        ids = SpecialIds(*(float(data["rnaseq"][f"{name}_token_id"]) for name in ("mask", "pad")))
        known, width = tensors["model.pos_emb.weight"].shape
        bins = len(tensors["model.token_emb.emb.weight"])
        config = CoreConfig(
            vocab_size=known,
            d_model=width,
            n_layers=stored["encoder"]["depth"],
            n_heads=stored["encoder"]["heads"],
            d_ff=len(tensors["model.encoder.transformer_encoder.0.linear1.weight"]),
            max_length=known,
            block="post",
            activation="relu",
            position="none",
            norms={"final": LAYER_NORM.name},  # the layers are post-norm, and one more norm follows
            embedder=DISCRETISED_GENES.name,
            part_options={
                DISCRETISED_GENES.name: {"bins": bins, "alpha": float(stored["bin_alpha"]), **ids._asdict()}
            },
        )
    except KeyError as error:
        raise CheckpointError(f"{path} lacks {error} of the model {version}; fetch it again") from error
    if known != genes + 3:
        raise CheckpointError(
            f"the folder lists {genes} genes but {path} knows {known - 3}; use the genes of the same release"
        )
    check_size(config, tensors, path)
    core = Transformer(config)
    shape = stack_shape(tensors, _STACK, path)
    rows = len(tensors[f"{_STACK}.0.0.fn.fast_attention.projection_matrix"])
    mixer = {"performer": {"features": rows, "stabiliser": stabiliser}}
    decoder = Decoder(width, CoreConfig(vocab_size=1, mixer_options=mixer, **shape))
    own = {name: tensors.pop(name) for name in list(tensors) if name.startswith(_DECODER_NAMES)}
    load_strict(core, ENCODER_KEYS.theirs_to_ours(tensors, config, path), path)
    load_strict(decoder, DECODER_KEYS.theirs_to_ours(own, config, path), path)
    return core.eval(), decoder, ids
