"""Encoders of any family behind one call: the core, or a model of transformers for families it does not have.

Dimensions: ``t`` pieces of a packed batch · ``b`` texts of it · ``m`` pieces of the longest · ``d`` width.
"""

from __future__ import annotations

import inspect
from collections.abc import Collection
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from biolm.batch import Batch
from biolm.core import Transformer
from biolm.errors import CheckpointError, ConfigError
from biolm.extras import advice
from biolm.io.damage import naming_damage
from biolm.io.json_file import read_json
from biolm.models.families.hf import FAMILIES, from_hf

__all__ = ["Encoder", "Padded", "load_core", "load_padded", "token_table", "width_of"]


class _Hidden(NamedTuple):
    last_hidden_state: Tensor


class Padded(nn.Module):
    """A model of transformers that reads packed batches as the core does; inside, texts are padded.

    Parameters
    ----------
    model
        Loaded by ``AutoModel``.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        # Asked once: RoBERTa's descendants take none, and fail when they are given some.
        self._segments = "token_type_ids" in inspect.signature(model.forward).parameters

    def forward(self, batch: Batch, *, logits: bool = False) -> _Hidden:  # noqa: ARG002  # as the core
        """Last hidden states ``(t, d)``.

        Parameters
        ----------
        batch
            Packed pieces.
        logits
            Not used; the signature of the core.
        """
        lengths = batch.lengths.tolist()
        mask = _padded(torch.ones_like(batch.ids), lengths).bool()
        given = {"input_ids": _padded(batch.ids, lengths), "attention_mask": mask.long()}
        if self._segments and batch.segments is not None:
            given["token_type_ids"] = _padded(batch.segments, lengths)
        # Only true tokens come back, in the order in which they were packed.
        return _Hidden(self.model(**given).last_hidden_state[mask])


Encoder = Transformer | Padded


def _padded(values: Tensor, lengths: list[int]) -> Tensor:
    """``(b, m)`` of ``(t,)``, zeros behind."""
    parts = torch.split(values.long(), lengths)
    return nn.utils.rnn.pad_sequence(list(parts), batch_first=True)


def load_core(folder: Path, *, ignore: Collection[str] = ()) -> Encoder:
    """The encoder of a folder, without heads.

    Parameters
    ----------
    folder
        As ``save_pretrained`` lays it out.
    ignore
        Tensors that the core leaves out: heads.

    Raises
    ------
    ConfigError
        If the family needs transformers, and that is not installed.
    CheckpointError
        If the folder cannot be read.
    """
    if read_json(folder / "config.json").get("model_type") in FAMILIES:
        return from_hf(folder, ignore=ignore)
    return load_padded(folder)


def load_padded(folder: Path) -> Padded:
    """The encoder of a folder, through transformers.

    Raises
    ------
    ConfigError
        If transformers is not installed.
    CheckpointError
        If the folder cannot be read, or holds a decoder.
    """
    try:
        from transformers import AutoModel
    except ImportError as error:
        raise ConfigError(f"the model in {folder} needs transformers: {advice('text')}") from error
    with naming_damage(folder, "the model", CheckpointError):
        # Never code that lies in the folder, and never the network: the folder is all there is.
        model = AutoModel.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
    if getattr(model.config, "is_encoder_decoder", False):
        raise CheckpointError(f"{folder} is an encoder with a decoder; give an encoder alone")
    return Padded(model)


def width_of(encoder: Encoder) -> int:
    """``d``."""
    if isinstance(encoder, Padded):
        config: Any = encoder.model.config
        return int(config.hidden_size)
    return encoder.config.d_model


def token_table(encoder: Encoder) -> Tensor:
    """The embeddings of tokens, ``(tokens, ·)``."""
    if isinstance(encoder, Padded):
        module: Any = encoder.model
        table: Tensor = module.get_input_embeddings().weight
        return table
    return encoder.embeddings.token.weight
