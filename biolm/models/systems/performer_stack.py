"""What scBERT, CellLM and scFoundation's decoder share: values of genes, names and shapes of a Performer.

Dimensions: ``n`` cells · ``m`` genes of the model.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from biolm.adapters.cells.rows import prepare
from biolm.errors import CheckpointError
from biolm.io.cells.block import CellBlock
from biolm.vocab.match import GeneMatch

if TYPE_CHECKING:
    from torch import Tensor, nn

    from biolm.core import Transformer
    from biolm.models.families.keys import Key
    from biolm.models.preprocessor import CellPreprocessor

__all__ = ["aligned", "binned_core", "stack_keys", "stack_shape", "value_bin"]


def aligned(
    block: CellBlock, match: GeneMatch, *, whole: bool = False
) -> list[tuple[NDArray[np.int64], NDArray[np.float64]]]:
    """Genes of the model that each cell expresses, ascending, and ``10,000 x / total``, float64.

    Parameters
    ----------
    block, match
        Cells, and where their genes lie in the model.
    whole
        Whether the total is that of all genes of the file, not of those of the model.

    Raises
    ------
    InputError
        If a value is negative, infinite or not a number, or the match belongs to another file.
    """
    rows = prepare(block, match)
    cells = []
    for start, stop, total in zip(rows.indptr[:-1], rows.indptr[1:], rows.totals, strict=True):
        genes = match.target[rows.indices[start:stop]].astype(np.int64)
        values = rows.data[start:stop].astype(np.float64)
        kept = (genes >= 0) & (values > 0)
        order = np.argsort(genes[kept], kind="stable")
        genes, values = genes[kept][order], values[kept][order]
        cells.append((genes, values * (1e4 / (total if whole else values.sum())) if len(values) else values))
    return cells


def value_bin(values: NDArray[np.float64]) -> NDArray[np.int64]:
    """``floor(log2(1 + x))``, at most 5, without a logarithm: whole powers of two do not round down.

    Examples
    --------
    >>> value_bin(np.array([0.9, 1.0, 3.0, 30.9, 1e6])).tolist()
    [0, 1, 2, 4, 5]
    """
    # A relative slack of float32 rounding, in which the published values are computed.
    edges = (2.0 ** np.arange(1, 6) - 1) * (1 - 1e-7)
    return np.searchsorted(edges, values, side="right")


def stack_shape(tensors: Mapping[str, Tensor], prefix: str, path: Path) -> dict[str, Any]:
    """Fields of a core config that the weights of a Performer tell, its mixer's features included.

    Parameters
    ----------
    tensors
        By name.
    prefix
        Before the names of the stack.
    path
        Names the file in messages.

    Raises
    ------
    CheckpointError
        If there is no such Performer.
    """
    layers = [
        name for name in tensors if re.fullmatch(re.escape(prefix) + r"\.\d+\.0\.fn\.to_q\.weight", name)
    ]
    first = f"{prefix}.0.0.fn"
    try:
        query, projection = (
            tensors[f"{first}.to_q.weight"],
            tensors[f"{first}.fast_attention.projection_matrix"],
        )
        inner = tensors[f"{prefix}.0.1.fn.fn.w1.weight"]
    except KeyError as error:
        raise CheckpointError(f"{path} lacks {error}, so it holds no Performer; fetch it again") from error
    width = projection.shape[1]
    return {
        "d_model": query.shape[1],
        "n_layers": len(layers),
        "n_heads": query.shape[0] // width,
        "head_dim": width,
        "d_ff": inner.shape[0],
        "qkv_bias": f"{first}.to_q.bias" in tensors,
        "mixer": "performer",
        "position": "none",
    }


def stack_keys(prefix: str) -> list[Key]:
    """Names of the weights of a Performer; the count of training steps since a redraw has no use here."""
    from biolm.models.families.keys import Key, dropped

    attention, feed = f"{prefix}.{{}}.0", f"{prefix}.{{}}.1"
    return [
        Key(f"{attention}.norm.*", "layers.{}.attn_norm.*"),
        Key(f"{attention}.fn.fast_attention.projection_matrix", "layers.{}.attention.projection"),
        *(
            Key(f"{attention}.fn.to_{short}.*", f"layers.{{}}.attention.{name}.*")
            for short, name in (("q", "query"), ("k", "key"), ("v", "value"), ("out", "out"))
        ),
        Key(f"{feed}.norm.*", "layers.{}.mlp_norm.*"),
        Key(f"{feed}.fn.fn.w1.*", "layers.{}.mlp.up.*"),
        Key(f"{feed}.fn.fn.w2.*", "layers.{}.mlp.down.*"),
        *dropped(f"{prefix.removesuffix('.net.layers')}.calls_since_last_redraw"),
    ]


def binned_core(
    path: Path, preprocessor: CellPreprocessor, *, special: int, mixer: dict[str, Any]
) -> tuple[Transformer, nn.Linear]:
    """The core of scBERT or CellLM from its file, and the head that predicts bins.

    Parameters
    ----------
    path
        The checkpoint.
    preprocessor
        Its genes, for what must fit.
    special
        Rows of the position table behind those of genes.
    mixer
        Options of the mixer.

    Raises
    ------
    CheckpointError
        If a weight is missing, extra, mis-shaped or unsafe, or the genes are those of another model.
    """
    from torch import nn

    from biolm.core import CoreConfig, Transformer
    from biolm.core.checkpoint import check_size, load_strict, read_torch
    from biolm.models.families.keys import Key, KeyTable

    tensors = dict(read_torch(path).get("model_state_dict", {}))
    shape = stack_shape(tensors, "performer.net.layers", path)
    positions, bins = tensors.get("pos_emb.emb.weight"), tensors.get("token_emb.weight")
    if positions is None or bins is None:
        raise CheckpointError(
            f"{path} lacks token_emb or pos_emb; give the file that {preprocessor.name} publishes"
        )
    genes = len(preprocessor.vocabulary)
    if len(positions) != genes + special:
        raise CheckpointError(
            f"{preprocessor.files[0]} lists {genes} genes but {path} knows {len(positions) - special}; use "
            "the genes of the same release"
        )
    head = nn.Linear(shape["d_model"], len(bins))
    own = {name: tensors.pop(f"to_out.{name}") for name in ("weight", "bias") if f"to_out.{name}" in tensors}
    load_strict(head, own, path)
    # The random features are stored, so the file knows their number better than a formula.
    rows = len(tensors["performer.net.layers.0.0.fn.fast_attention.projection_matrix"])
    config = CoreConfig(
        vocab_size=len(positions),
        value_encoder="bins",
        n_values=len(bins),
        mixer_options={"performer": {"features": rows, **mixer}},
        **shape,
    )
    keys = KeyTable(
        [
            # The table of positions is float64 in the file; the sum is float32 there as here.
            Key("pos_emb.emb.weight", "embeddings.token.weight"),
            Key("token_emb.weight", "embeddings.value.weight"),
            Key("norm.*", "final_norm.*"),
            *stack_keys("performer.net.layers"),
        ]
    )
    check_size(config, tensors, path)
    core = Transformer(config)
    load_strict(core, keys.theirs_to_ours(tensors, config, path), path)
    return core, head.eval()
