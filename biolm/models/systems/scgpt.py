"""scGPT (Cui et al. 2024): genes with binned expression values, read by a post-norm encoder.

A folder holds ``best_model.pt`` (bare weights), ``args.json`` and ``vocab.json``. Attention weights may
be spelled ``in_proj_`` (torch) or ``Wqkv`` (flash-attn). A cell's vector is the cls token of the last
layer, scaled to length 1.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from biolm.adapters.cells.bins import BinTokenizer
from biolm.errors import CheckpointError, ConfigError
from biolm.io.json_file import read_json
from biolm.models.preprocessor import CellPreprocessor
from biolm.models.systems.cell_folders import check_rows
from biolm.vocab.genes import GeneVocabulary
from biolm.vocab.published import PublishedRule

if TYPE_CHECKING:
    from biolm.core import CoreConfig
    from biolm.models.families.keys import KeyTable
    from biolm.models.systems.scgpt_heads import ScgptModel

__all__ = ["core_config", "keys", "load", "load_tokenizer", "recognises"]

_WEIGHTS = "best_model.pt"
_VALUE_CLIP = 512.0  # largest bin or value the published value encoder lets through


def recognises(folder: Path) -> bool:
    """Whether a folder is laid out as scGPT publishes its checkpoints."""
    return all((folder / name).is_file() for name in ("args.json", "vocab.json", _WEIGHTS))


def load_tokenizer(folder: Path) -> CellPreprocessor:
    """Genes and tokeniser of a folder; the weights are not touched and torch is not imported.

    Raises
    ------
    CheckpointError
        If a file is missing or the vocabulary lacks ``<cls>``.
    """
    args = read_json(folder / "args.json")
    vocabulary = {str(gene): int(token) for gene, token in read_json(folder / "vocab.json").items()}
    if "<cls>" not in vocabulary:
        raise CheckpointError(f"{folder / 'vocab.json'} lacks <cls>; give the vocabulary of the checkpoint")
    # Tokens in angle brackets are marks: <pad>, <cls>, <eoc>.
    genes = [name for name in vocabulary if not (name.startswith("<") and name.endswith(">"))]
    tokenizer = BinTokenizer(
        token_ids=np.array([vocabulary[gene] for gene in genes], np.int32),
        n_bins=int(args.get("n_bins", 51)),
        max_length=int(args.get("max_seq_len", 1200)),
        cls_id=vocabulary["<cls>"],
        cls_value=int(args.get("pad_value", -2)),
    )
    return CellPreprocessor(
        name="scgpt",
        vocabulary=GeneVocabulary.of(genes, kind="symbol"),
        tokenizer=tokenizer,
        special=(1, 0),
        files=(folder / "args.json", folder / "vocab.json"),
        # scgpt/tasks/cell_emb.py, embed_data: gene_col="feature_name", looked up as written.
        published=PublishedRule(system="scGPT", column="feature_name"),
    )


def core_config(args: dict[str, Any], vocab_size: int) -> CoreConfig:
    """Core config of an ``args.json``.

    Parameters
    ----------
    args
        An ``args.json``.
    vocab_size
        Tokens.

    Raises
    ------
    ConfigError
        If the values are not read as numbers (``input_emb_style`` other than ``continuous``).
    """
    from biolm.core import CoreConfig

    style = args.get("input_emb_style", "continuous")
    if style != "continuous":
        raise ConfigError(f"scGPT with input_emb_style {style!r} is not supported; only 'continuous' is")
    dropout = float(args.get("dropout", 0.0))
    return CoreConfig(
        vocab_size=vocab_size,
        d_model=args["embsize"],
        n_layers=args["nlayers"],
        n_heads=args["nheads"],
        d_ff=args["d_hid"],
        max_length=int(args.get("max_seq_len", 1200)),
        value_encoder="continuous",
        embedder="normed_values",
        part_options={"normed_values": {"clip": _VALUE_CLIP}},
        position="none",
        block="post",
        activation="relu",
        head="value",
        dropout_attention=dropout,
        dropout_residual=dropout,
    )


def keys() -> KeyTable:
    """Names of the encoder's weights."""
    from biolm.models.families.keys import Key, KeyTable, Rows, dropped, qkv

    layer, attention = "transformer_encoder.layers.{}", "layers.{}.attention"
    return KeyTable(
        [
            Key("encoder.embedding.weight", "embeddings.token.weight"),
            Key("encoder.enc_norm.*", "embeddings.token_norm.*"),
            Key("value_encoder.linear1.*", "embeddings.value.first.*"),
            Key("value_encoder.linear2.*", "embeddings.value.second.*"),
            Key("value_encoder.norm.*", "embeddings.value.norm.*"),
            Key(f"{layer}.self_attn.in_proj_*", qkv(), Rows(), also=(f"{layer}.self_attn.Wqkv.*",)),
            Key(f"{layer}.self_attn.out_proj.*", f"{attention}.out.*"),
            Key(f"{layer}.linear1.*", "layers.{}.mlp.up.*"),
            Key(f"{layer}.linear2.*", "layers.{}.mlp.down.*"),
            Key(f"{layer}.norm1.*", "layers.{}.attn_norm.*"),
            Key(f"{layer}.norm2.*", "layers.{}.mlp_norm.*"),
            Key("decoder.fc.0.*", "head.first.*"),
            Key("decoder.fc.2.*", "head.second.*"),
            Key("decoder.fc.4.*", "head.last.*"),
            # Marks generated tokens in pretraining code that was never published.
            *dropped("flag_encoder.weight"),
        ]
    )


def load(folder: Path) -> ScgptModel:
    """Load an scGPT folder, strictly.

    Raises
    ------
    CheckpointError
        If a file or weight is missing, extra, mis-shaped or unsafe.
    ConfigError
        If the checkpoint is of a kind that is not supported.
    """
    from biolm.core import Transformer
    from biolm.core.checkpoint import check_size, load_strict, read_weights
    from biolm.models.systems.scgpt_heads import ScgptModel, extra_heads

    preprocessor = load_tokenizer(folder)
    path = folder / _WEIGHTS
    if not path.is_file():
        raise CheckpointError(f"{folder} holds no {_WEIGHTS}; give the folder of an scGPT checkpoint")
    tensors = read_weights([path])
    embedding = tensors.get("encoder.embedding.weight")
    if embedding is None:
        raise CheckpointError(f"{path} lacks encoder.embedding.weight; give the file of bare weights")
    try:
        config = core_config(read_json(folder / "args.json"), len(embedding))
    except KeyError as error:
        raise CheckpointError(f"{folder / 'args.json'} lacks the field {error}") from error
    # An embedding may have rows more than the vocabulary has tokens, but not fewer.
    top = max(int(preprocessor.tokenizer.token_ids.max()), 0)  # type: ignore[attr-defined]  # BinTokenizer
    check_rows(folder / "vocab.json", top, path, config.vocab_size)
    gene_query, classifier, rest = extra_heads(tensors, path)
    check_size(config, tensors, path)
    core = Transformer(config)
    load_strict(core, keys().theirs_to_ours(rest, config, path), path)
    return ScgptModel(preprocessor, core, [path], gene_query=gene_query, classifier=classifier)
