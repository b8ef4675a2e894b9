"""What families of encoder and decoder share: one embedding for both parts, and their files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from torch import Tensor

from biolm.core.checkpoint import check_size, load_strict, write_weights
from biolm.core.config import CoreConfig
from biolm.core.seq2seq import EncoderDecoder
from biolm.io.atomic import replacing_folder
from biolm.models.families.keys import Key, KeyTable

__all__ = ["SHARED_EMBEDDING", "load_pair", "save_pair"]


class Copied:
    """One published tensor that the core has in two places."""

    def split(self, tensor: Tensor, names: int, config: CoreConfig) -> list[Tensor]:  # noqa: ARG002  # protocol
        """The same for each."""
        return [tensor] * names

    def join(self, parts: list[Tensor], config: CoreConfig) -> Tensor:  # noqa: ARG002  # protocol
        """Either."""
        return parts[0]


# One table in the file and two in the core, which hold the same numbers; either can be written.
SHARED_EMBEDDING = Key(
    "shared.weight", tuple(f"{part}.embeddings.token.weight" for part in ("encoder", "decoder")), Copied()
)


def load_pair(
    folder: Path, keys: KeyTable, encoder: CoreConfig, decoder: CoreConfig, tensors: dict[str, Tensor]
) -> EncoderDecoder:
    """Encoder and decoder with the tensors of a folder written by ``save_pretrained``.

    Parameters
    ----------
    folder
        Named in errors.
    keys
        Published names and those of the core.
    encoder, decoder
        Configs of the parts.
    tensors
        By published name.

    Raises
    ------
    CheckpointError
        If weights are missing, extra or mis-shaped.
    """
    check_size(decoder, tensors, folder)
    model = EncoderDecoder(encoder, decoder)
    ours = keys.theirs_to_ours(tensors, decoder, folder)
    load_strict(model, ours, folder, lambda name: keys.published(name, decoder))
    return model.eval()


def save_pair(model: EncoderDecoder, folder: str | Path, keys: KeyTable, config: dict[str, Any]) -> None:
    """Write weights by published names, and a ``config.json``.

    Parameters
    ----------
    model
        To save.
    folder
        Made where it is not there.
    keys
        Published names of the weights.
    config
        Of the model, as published.
    """
    tensors = keys.ours_to_theirs(model.state_dict(), model.decoder.config)
    text = json.dumps({**config, "is_encoder_decoder": True}, indent=2) + "\n"
    with replacing_folder(Path(folder), "config.json", overwrite=True) as target:
        write_weights(target / "model.safetensors", tensors)
        (target / "config.json").write_text(text, encoding="utf-8")
