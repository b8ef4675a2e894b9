"""ESM-1b, ESM-1v and ESM-2 in the ``.pt`` files of fair-esm, and their regression of contacts.

Source of the layout: ``esm/pretrained.py`` and ``esm/model`` of github.com/facebookresearch/esm. A file holds
its arguments (``args`` or ``cfg``, a namespace of plain values) and the weights (``model``); a second file
holds the regression. Nothing but tensors, plain containers and ``argparse.Namespace`` is built.
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from biolm.core import Transformer
from biolm.core.checkpoint import check_size, find_weights, load_strict, read_some, read_torch
from biolm.errors import CheckpointError
from biolm.models.families import esm
from biolm.models.families.decoders import FAIRSEQ_LAYER
from biolm.models.families.keys import Key, KeyTable, dropped

__all__ = ["ORIGINAL_KEYS", "contact_weights", "read_original"]

_REGRESSION = ("contact_head.regression.weight", "contact_head.regression.bias")
# Layers of self_attn.rot_emb, under the name by which `esm.adapt` looks for frequencies.
_ROTARY = ("rot_emb.inv_freq", "rotary_embeddings.inv_freq")

ORIGINAL_KEYS = KeyTable(
    [
        Key("embed_tokens.weight", "embeddings.token.weight"),
        Key(
            "embed_positions.weight",
            "embeddings.position.weight",
            when=lambda core: core.position == "learned",
        ),
        Key("emb_layer_norm_before.*", "embeddings.norm.*"),
        *FAIRSEQ_LAYER,
        Key("emb_layer_norm_after.*", "final_norm.*"),
        Key("lm_head.dense.*", "head.dense.*"),
        Key("lm_head.layer_norm.*", "head.norm.*"),
        Key("lm_head.bias", "head.bias"),
        # The tied embedding again; frequencies are checked by `esm.adapt`.
        *dropped("lm_head.weight", "layers.{}.self_attn.rot_emb.inv_freq", *_REGRESSION),
        # Trained beside ESM-2 and used by no code.
        *dropped("embed_positions._float_tensor", "version"),
    ],
    prefixes=("encoder.sentence_encoder.", "encoder.", "decoder.sentence_encoder.", "decoder.", ""),
)


def read_original(
    path: Path, regression: Path | None = None
) -> tuple[Transformer, NDArray[np.float32] | None]:
    """Load an original file and, where there is one, the file of its contact regression.

    Parameters
    ----------
    path
        Of the weights.
    regression
        File of the contact regression.

    Returns
    -------
    The core, and the regression's weights and intercept as :class:`SequenceModel` keeps them.

    Raises
    ------
    CheckpointError
        If it is no ESM-1b, 1v or 2, or weights are missing, extra, mis-shaped or unsafe.
    """
    content = read_torch(path, [Namespace])
    tensors = content.get("model")
    if not isinstance(tensors, Mapping):
        raise CheckpointError(f"{path} holds no weights named 'model', so it is no file of fair-esm")
    core = _core_config(tensors, _arguments(content, path), path)
    core = esm.adapt(core, {name.replace(*_ROTARY): tensor for name, tensor in tensors.items()})
    check_size(core, tensors, path)
    model = Transformer(core)
    ours = ORIGINAL_KEYS.theirs_to_ours(tensors, core, path)
    load_strict(model, ours, path, lambda name: ORIGINAL_KEYS.published(name, core))
    head = dict(tensors) if regression is None else read_torch(regression).get("model", {})
    return model.eval(), _packed(head)


def contact_weights(folder: Path) -> NDArray[np.float32] | None:
    """Weights and intercept of the contact regression of a folder as ``transformers`` writes it."""
    names = [f"{prefix}{name}" for prefix in ("esm.", "") for name in _REGRESSION]
    return _packed(read_some(find_weights(folder), names))


def _packed(tensors: Mapping[str, Tensor]) -> NDArray[np.float32] | None:
    """``(layers x heads + 1,)`` weights, then the intercept."""
    weights = [tensor for end in _REGRESSION for name, tensor in tensors.items() if name.endswith(end)]
    if len(weights) != 2:
        return None
    return np.concatenate([tensor.float().flatten().numpy() for tensor in weights])


def _arguments(content: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """The model's arguments as plain values, without the prefix of their stack."""
    arguments = content.get("args")
    if arguments is None:
        arguments = content.get("cfg")
        arguments = (
            arguments.get("model") if isinstance(arguments, Mapping) else getattr(arguments, "model", None)
        )
    if arguments is None:
        raise CheckpointError(f"{path} holds neither 'args' nor 'cfg', so it is no file of fair-esm")
    values = dict(arguments) if isinstance(arguments, Mapping) else vars(arguments)
    return {str(name).removeprefix("encoder_"): value for name, value in values.items()}


def _core_config(tensors: Mapping[str, Tensor], arguments: Mapping[str, Any], path: Path) -> Any:
    """Core config from shapes of weights, and from arguments what shapes do not tell."""
    shapes = {name.split("encoder.")[-1]: tensor.shape for name, tensor in tensors.items()}
    try:
        vocabulary, width = shapes["embed_tokens.weight"]
        d_ff = shapes["layers.0.fc1.weight"][0]
        heads = int(arguments["attention_heads"])
    except KeyError as error:
        raise CheckpointError(
            f"{path} lacks {error}, so it is no ESM-1b, ESM-1v or ESM-2 of fair-esm"
        ) from None
    learned = shapes.get("embed_positions.weight")
    return esm.core_config(
        {
            "architectures": ["EsmForMaskedLM"],
            "vocab_size": vocabulary,
            "hidden_size": width,
            "num_hidden_layers": sum(name.endswith(".fc1.weight") for name in shapes),
            "num_attention_heads": heads,
            "intermediate_size": d_ff,
            "pad_token_id": 1,
            "mask_token_id": 32,
            "position_embedding_type": "rotary" if learned is None else "absolute",
            "max_position_embeddings": 1026 if learned is None else learned[0],
            "token_dropout": bool(arguments.get("token_dropout", False)),
            "emb_layer_norm_before": "emb_layer_norm_before.weight" in shapes,
            "layer_norm_eps": 1e-5,
            "hidden_dropout_prob": 0.0,
            "attention_probs_dropout_prob": 0.0,
        }
    )
