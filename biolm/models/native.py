"""Models trained with biolm: a folder that holds all that is needed to read cells with them again.

``config.json`` (the core's config and how cells are pooled), ``model.safetensors``, ``vocab.json`` (token to
id), ``preprocessing.json`` (the tokeniser's settings, genes, medians) and ``README.md`` (the model card);
heads beside the core in ``heads.json`` and ``heads.safetensors``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from biolm.adapters.cells import BinTokenizer, ContinuousTokenizer, RankTokenizer
from biolm.errors import BiolmError, CheckpointError, ConfigError
from biolm.io.json_file import read_json
from biolm.models.preprocessor import CellPreprocessor, find_file
from biolm.models.sequence_preprocessor import SequencePreprocessor, sequence_metadata, sequence_preprocessor
from biolm.vocab.genes import GeneVocabulary

if TYPE_CHECKING:
    from biolm.core import CoreConfig
    from biolm.models.heads import HeadMetadata
    from biolm.models.sequence_model import SequenceModel
    from biolm.models.token_model import TokenCellModel

__all__ = ["TOKENIZERS", "Saved", "load", "load_tokenizer", "read_vocabulary", "recognises", "save"]

FORMAT_VERSION = 1
MODEL_TYPE = "biolm"
_CARDS = {"sequences": ("sequences", "sequences.fasta"), "cells": ("single-cell", "cells.h5ad")}
"""By what a model reads: the tag of its card and the file of its example."""
TOKENIZERS = {"rank": RankTokenizer, "bins": BinTokenizer, "continuous": ContinuousTokenizer}
# Those of published systems that a fine-tuned model keeps; their modules are imported on first use.
_OF_SYSTEMS = {
    "left_bins": "biolm.models.systems.tahoe:LeftBins",
    "rank_sentences": "biolm.models.systems.tgpt:RankSentences",
    "all_genes": "biolm.models.systems.scbert:AllGenes",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Saved:
    """What a folder holds beside the weights.

    Parameters
    ----------
    preprocessor
        Genes and tokeniser, or a tokeniser of sequences.
    vocabulary
        Token to id, special tokens (``<mask>`` ...) included.
    core
        Config of the core.
    pool, hidden_state
        How a cell's vector is made.
    card
        Metadata for the model card: what it was trained on and how well it does.
    heads
        What the heads beside the core were made of; None where there are none.
    """

    preprocessor: CellPreprocessor | SequencePreprocessor
    vocabulary: Mapping[str, int]
    core: CoreConfig
    pool: str = "mean"
    hidden_state: int = -1
    card: Mapping[str, Any] | None = None
    heads: HeadMetadata | None = None


def recognises(folder: Path) -> bool:
    """Whether a folder was written by :func:`save`."""
    try:
        return read_json(folder / "config.json").get("model_type") == MODEL_TYPE
    except BiolmError:
        return False


def save(
    folder: Path, saved: Saved, weights: Mapping[str, Any], heads: Mapping[str, Any] | None = None
) -> None:
    """Write a folder that :func:`load` opens; it must exist.

    Parameters
    ----------
    folder
        Where the files go.
    saved
        Everything but the weights.
    weights
        The core's tensors by name.
    heads
        Those of the heads, where there are any.

    Raises
    ------
    ConfigError
        If the tokeniser is of another package and cannot be written.
    """
    from biolm.core.checkpoint import write_weights

    config = {
        "model_type": MODEL_TYPE,
        "architectures": ["Transformer"],
        "format_version": FORMAT_VERSION,
        "name": saved.preprocessor.name,
        "core": saved.core.as_dict(),
        "pool": saved.pool,
        "hidden_state": saved.hidden_state,
    }
    _write_json(folder / "config.json", config)
    _write_json(folder / "vocab.json", dict(saved.vocabulary))
    metadata = {"format_version": FORMAT_VERSION, **preprocessor_metadata(saved.preprocessor)}
    _write_json(folder / "preprocessing.json", metadata)
    (folder / "README.md").write_text(_card(saved), encoding="utf-8")
    write_weights(folder / "model.safetensors", weights)
    if saved.heads is not None:
        from biolm.models.heads import save_heads

        save_heads(folder, saved.heads, heads or {})


def load_tokenizer(folder: Path) -> CellPreprocessor | SequencePreprocessor:
    """Genes and tokeniser of a folder, or its tokeniser of sequences; torch is not imported.

    Raises
    ------
    CheckpointError
        If a file is missing or was written by a later version.
    """
    metadata = read_json(folder / "preprocessing.json")
    if metadata.get("format_version", 0) > FORMAT_VERSION:
        raise CheckpointError(f"{folder} was written by a later biolm; update biolm to read it")
    name = read_json(folder / "config.json").get("name", MODEL_TYPE)
    files = (folder / "vocab.json", folder / "preprocessing.json")
    tokens = read_json(files[0])
    try:
        if "genes" in metadata:
            return _cell_preprocessor(metadata, name, files, tokens)
        return sequence_preprocessor(metadata, name, files)
    # Files are JSON that anyone can edit, and damage shows as any of these.
    except (KeyError, TypeError, IndexError) as error:
        raise CheckpointError(
            f"{folder} is incomplete: {error} is missing or wrong; train or copy it again"
        ) from error


def _cell_preprocessor(
    metadata: Mapping[str, Any], name: str, files: tuple[Path, ...], tokens: Mapping[str, int]
) -> CellPreprocessor:
    genes = metadata["genes"]
    given = dict(metadata["settings"])
    given["token_ids"] = np.array([tokens[gene] for gene in genes], np.int32)
    if "medians" in metadata:
        given["medians"] = np.array(metadata["medians"], np.float64)
    return CellPreprocessor(
        name=name,
        vocabulary=GeneVocabulary(tuple(genes), metadata["gene_kind"], tuple(metadata["species"])),
        tokenizer=_tokenizer_class(metadata["tokenizer"])(**given),
        special=(int(metadata["special"][0]), int(metadata["special"][1])),
        files=files,
        wants_counts=bool(metadata["wants_counts"]),
    )


def _tokenizer_class(name: str) -> Any:
    if name not in _OF_SYSTEMS:
        return TOKENIZERS[name]
    module, _, attribute = _OF_SYSTEMS[name].partition(":")
    return getattr(import_module(module), attribute)


def _place(kind: type) -> str:
    return f"{kind.__module__}:{kind.__qualname__}"


def load(folder: Path) -> TokenCellModel | SequenceModel:
    """Load a folder, strictly.

    Raises
    ------
    CheckpointError
        If a file or weight is missing, extra or mis-shaped.

    Examples
    --------
    >>> model = biolm.load("runs/first/model")  # doctest: +SKIP
    """
    from biolm.core import CoreConfig, Transformer
    from biolm.core.checkpoint import check_size, find_weights, load_strict, read_weights
    from biolm.models.heads import load_heads
    from biolm.models.sequence_model import SequenceModel
    from biolm.models.token_model import TokenCellModel

    preprocessor = load_tokenizer(folder)
    config = read_json(folder / "config.json")
    files = find_weights(folder)
    shape = CoreConfig.from_dict(dict(config.get("core", {})))
    weights = read_weights(files)
    check_size(shape, weights, folder)
    core = Transformer(shape)
    load_strict(core, weights, folder)
    pool, hidden_state = config.get("pool", "mean"), int(config.get("hidden_state", -1))
    # By what the preprocessor reads, so that a further kind is one more entry.
    kinds: dict[str, Any] = {"sequences": SequenceModel, "cells": TokenCellModel}
    model: TokenCellModel | SequenceModel = kinds[preprocessor.modality](
        preprocessor, core, pool=pool, hidden_state=hidden_state, files=files
    )
    model.heads = load_heads(folder, core.config)
    return model


def read_vocabulary(folder: Path) -> dict[str, int]:
    """Token to id of any folder with ``vocab.json`` or a token dictionary.

    Raises
    ------
    CheckpointError
        If it has neither.
    """
    from biolm.io.safe_pickle import read_gene_dictionary

    if (folder / "vocab.json").is_file():
        return {str(name): int(token) for name, token in read_json(folder / "vocab.json").items()}
    file = find_file([folder, folder / "geneformer"], lambda name: "token_dictionary" in name)
    if file is None:
        raise CheckpointError(f"{folder} holds neither vocab.json nor a token dictionary")
    return {str(name): int(token) for name, token in read_gene_dictionary(file).items()}


def preprocessor_metadata(preprocessor: CellPreprocessor | SequencePreprocessor) -> dict[str, Any]:
    """What :func:`load_tokenizer` reads."""
    kinds: dict[str, Callable[[Any], dict[str, Any]]] = {
        "sequences": sequence_metadata,
        "cells": _cell_metadata,
    }
    return kinds[preprocessor.modality](preprocessor)


def _cell_metadata(preprocessor: CellPreprocessor) -> dict[str, Any]:
    tokenizer: Any = preprocessor.tokenizer
    places = {place: name for name, place in _OF_SYSTEMS.items()}
    places |= {_place(known): name for name, known in TOKENIZERS.items()}
    kind = places.get(_place(type(tokenizer)))
    if kind is None:
        raise ConfigError(f"the tokeniser of {preprocessor.name} is of its own kind and cannot be saved")
    # Long columns have places of their own in the files.
    columns = {"token_ids", "medians"}
    settings = {
        field.name: getattr(tokenizer, field.name) for field in fields(tokenizer) if field.name not in columns
    }
    metadata: dict[str, Any] = {
        "tokenizer": kind,
        "settings": settings,
        "gene_kind": preprocessor.vocabulary.kind,
        "species": list(preprocessor.vocabulary.species),
        "special": list(preprocessor.special),
        "wants_counts": preprocessor.wants_counts,
        "genes": list(preprocessor.vocabulary.genes),
    }
    if isinstance(tokenizer, RankTokenizer):
        metadata["medians"] = np.asarray(tokenizer.medians).tolist()
    return metadata


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def _card(saved: Saved) -> str:
    """Model card with the front matter that hubs read."""
    metadata = {
        "layers": saved.core.n_layers,
        "width": saved.core.d_model,
        "heads": saved.core.n_heads,
        "tokens known": saved.core.vocab_size,
        **(saved.card or {}),
    }
    lines = "\n".join(f"| {name} | {value} |" for name, value in metadata.items())
    tag, data = _CARDS[saved.preprocessor.modality]
    return (
        f"---\nlibrary_name: biolm\ntags: [biology, {tag}]\n---\n\n"
        f"# {saved.preprocessor.name}\n\nTrained with biolm. Open it with `biolm.load(folder)`, embed data\n"
        f"with `biolm embed {data} -m folder -o embedded.h5ad`.\n\n"
        f"| | |\n| --- | --- |\n{lines}\n\nNo licence is stated: whoever shares the model adds one.\n"
    )
