"""TranscriptFormer (Pearce et al. 2025): genes as vectors of their proteins, attention biased by counts.

A folder holds ``config.json``, ``model_weights.pt``, ``vocabs/*.h5`` (names of the genes) and
``vocabs/assay_vocab.json``. A cell is its assay, ``[START]`` and its expressed genes in the file's order,
counts clipped at 30. The residual stream is replaced by its norm: ``y = LN(x); y = y + attention(y)``, and
so for the feed-forward. A cell's vector is the sum of the states from ``[START]`` on over the model's
length, however few genes the cell has; ``--pool mean`` divides by the tokens that there are.

Dimensions: ``t`` tokens of a batch · ``r`` of them from [START] on · ``b`` cells · ``h`` heads · ``d``
width · ``v`` gene tokens.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from biolm.adapters.cells.continuous import ContinuousTokenizer
from biolm.batch import Batch, Tokens
from biolm.core.checkpoint import load_strict, read_torch
from biolm.core.maps import Receive
from biolm.errors import CheckpointError, InputError
from biolm.io.cells import CellSource
from biolm.io.cells.block import CellBlock
from biolm.io.cells.hdf5 import open_hdf5
from biolm.io.contained import member_of
from biolm.io.json_file import read_json
from biolm.models.context import ContextColumn
from biolm.models.model import EmbedOptions
from biolm.models.preprocessor import CellPreprocessor
from biolm.models.systems.cell_network import CellNetwork
from biolm.models.systems.transcriptformer_network import TranscriptNetwork
from biolm.vocab.genes import GeneVocabulary
from biolm.vocab.match import GeneMatch
from biolm.vocab.published import PublishedRule

__all__ = [
    "TranscriptFormer",
    "load",
    "load_tokenizer",
    "recognises",
]

_WEIGHTS, _VOCABS, _ASSAYS = "model_weights.pt", "vocabs", "assay_vocab.json"
_PAD, _START = "[PAD]", "[START]"


@dataclass(kw_only=True, eq=False)
class CountTokens:
    """Assay, ``[START]`` and the expressed genes in the file's order, with clipped counts.

    An unknown assay (number 0) counts as padding in the published code, so it is left out.
    """

    genes: ContinuousTokenizer
    assay: ContextColumn
    start: int
    assays: int
    length: int
    clip: float
    context: NDArray[np.int32] | None = None

    def read_context(self, source: CellSource) -> None:
        """Take the assay of every cell of a file.

        Raises
        ------
        InputError
            If there is no column of assays, or it holds one that is unknown.
        """
        self.context = self.assay.read(source)

    @property
    def token_ids(self) -> NDArray[np.int32]:
        """``(m,)`` token id of each gene."""
        return self.genes.token_ids

    def __call__(self, block: CellBlock, match: GeneMatch, *, seed: int = 0) -> Tokens:
        """Packed tokens of a block; a cell without known genes has none.

        Raises
        ------
        InputError
            If the assays of the cells were not read.
        """
        if self.context is None:
            raise InputError("TranscriptFormer needs the assay of the cells; call read_context first")
        counts = self.genes(block, match, seed=seed)
        assert counts.values is not None
        assays = self.context[block.numbers]
        ids: list[NDArray[Any]] = []
        values: list[NDArray[Any]] = []
        for cell, assay in enumerate(assays.tolist()):
            # The last place of the model is the target of the one before.
            example = counts[cell]
            assert example.values is not None
            genes, counted = example.ids[: self.length - 1], example.values[: self.length - 1]
            first = [self.assays + assay, self.start] if assay else [self.start]
            first = first if len(genes) else []
            ids.append(np.concatenate([first, genes]))
            values.append(np.concatenate([np.ones(len(first)), np.clip(counted, 0, self.clip)]))
        return Tokens.joined(ids, block.numbers, values=values)


class TranscriptFormer(CellNetwork):
    """TranscriptFormer; ``published`` divides by the model's length, ``mean`` by the tokens of the cell."""

    length: int

    def vectors(self, batch: Batch, how: str) -> Tensor:
        """Vectors ``(b, d)``."""
        states: Tensor = self.network(batch)
        genes = len(self.network.get_parameter("gene_embeddings.embedding.weight"))
        owner = torch.repeat_interleave(torch.arange(len(batch), device=states.device), batch.lengths)
        # The assay comes before [START] and has a token above those of genes: it is no part of the sum.
        kept = batch.ids < genes
        sums = states.new_zeros(len(batch), states.shape[1]).index_add(0, owner[kept], states[kept])
        if how == "published":
            return sums / self.length
        return sums / torch.bincount(owner[kept], minlength=len(batch))[:, None]

    def gene_inputs(self, token_ids: Tensor) -> Tensor:
        """Vectors ``(m, d)`` made of those of proteins."""
        vectors: Tensor = self.network.gene_vectors(token_ids)  # type: ignore[operator]  # TranscriptNetwork
        return vectors

    def gene_states(self, batch: Batch, options: EmbedOptions) -> Tensor:
        """States ``(t, d)`` of the last layer."""
        self.plain(options)
        states: Tensor = self.network(batch)
        return states

    def attention(self, batch: Batch, receive: Receive) -> None:
        """Attention maps of each layer."""
        self.network(batch, maps=receive)


def recognises(folder: Path) -> bool:
    """Whether a folder is laid out as TranscriptFormer publishes its checkpoints."""
    return (folder / _WEIGHTS).is_file() and (folder / "config.json").is_file()


def _config(folder: Path) -> dict[str, Any]:
    whole = read_json(folder / "config.json")
    # Some releases nest the settings of the model among those of a run.
    config: dict[str, Any] = whole.get("model", whole)
    if "model_config" not in config:
        raise CheckpointError(f"{folder / 'config.json'} lacks the field 'model_config'; fetch it again")
    return config


def _gene_tokens(folder: Path, config: dict[str, Any]) -> dict[str, int]:
    """Special tokens, then the genes of each table of protein vectors; the vectors are in the weights."""
    if "gene_vocab" in config:
        return {str(name): int(token) for name, token in config["gene_vocab"].items()}
    data = config.get("data_config", {})
    names = list(data.get("special_tokens", ()))
    for name in data.get("esm2_mappings", ()):
        path = member_of(folder / _VOCABS, name, CheckpointError)
        try:
            with open_hdf5(path) as file:
                names += [key.decode() if isinstance(key, bytes) else str(key) for key in file["keys"][:]]
        except (OSError, KeyError, UnicodeDecodeError, InputError) as error:
            raise CheckpointError(
                f"{path} is missing or damaged; get the folder with the authors' transcriptformer download"
            ) from error
    # The order of the tables is that of the tokens; a gene in two of them keeps its first place.
    return {name: token for token, name in enumerate(dict.fromkeys(names))}


def _assays(folder: Path, config: dict[str, Any]) -> dict[str, int]:
    assays = config.get("aux_vocab", {}).get("assay") or read_json(folder / _VOCABS / _ASSAYS)
    return {str(name): int(token) for name, token in assays.items()}


def load_tokenizer(folder: Path, *, assay: str | None = None) -> CellPreprocessor:
    """Genes and tokeniser of a folder; the weights are not touched.

    Parameters
    ----------
    folder
        Of the checkpoint.
    assay
        Of all cells.

    Raises
    ------
    CheckpointError, ConfigError
        If a vocabulary is missing or damaged, or the assay is unknown.
    """
    config = _config(folder)
    tokens = _gene_tokens(folder, config)
    if not {_PAD, _START} <= tokens.keys():
        raise CheckpointError(f"{folder} has a vocabulary without {_PAD} and {_START}; fetch it again")
    genes = {name: token for name, token in tokens.items() if name != "unknown" and not name.startswith("[")}
    ids = np.array(list(genes.values()), np.int32)
    clip = config.get("data_config", {}).get("clip_counts", config.get("clip_counts", 30))
    tokenizer = CountTokens(
        genes=ContinuousTokenizer(token_ids=ids, target_sum=None, log1p=False),
        assay=ContextColumn(
            system="TranscriptFormer", name="assay", tokens=_assays(folder, config), given=assay
        ),
        start=tokens[_START],
        assays=len(tokens),
        length=int(config["model_config"]["seq_len"]),
        clip=float(clip),
    )
    return CellPreprocessor(
        name="transcriptformer",
        vocabulary=GeneVocabulary.of(list(genes)),
        tokenizer=tokenizer,
        files=(folder / "config.json",),
        published=PublishedRule(system="TranscriptFormer", column="ensembl_id"),
    )


def read_network(folder: Path) -> TranscriptNetwork:
    """The network of a folder, strictly.

    Raises
    ------
    CheckpointError
        If a weight is missing, extra or mis-shaped.
    """
    path, sizes = folder / _WEIGHTS, _config(folder)["model_config"]
    tensors = read_torch(path, mapped=True)
    shapes = {name: tensor.shape for name, tensor in tensors.items()}
    try:
        network = TranscriptNetwork(shapes, int(sizes["num_heads"]), float(sizes["softcap"]))
    except KeyError as error:
        raise CheckpointError(f"{path} or its config.json lacks {error}; fetch both again") from error
    load_strict(network, tensors, path)
    return network.eval()


def load(folder: Path, *, assay: str | None = None) -> TranscriptFormer:
    """Load a folder, strictly.

    Parameters
    ----------
    folder
        Of a checkpoint.
    assay
        Of all cells; by default the column ``assay`` of each cell is read. ``unknown`` is allowed.

    Raises
    ------
    CheckpointError, ConfigError
        If a file or weight is missing, extra, mis-shaped or unsafe, or the assay is unknown.
    """
    preprocessor, network = load_tokenizer(folder, assay=assay), read_network(folder)
    rows, width = network.aux_embeddings.get_parameter("assay.weight").shape
    known = len(network.gene_embeddings.get_parameter("embedding.weight"))
    tokenizer: Any = preprocessor.tokenizer
    if tokenizer.assays != known or max(tokenizer.assay.tokens.values()) >= rows:
        raise CheckpointError(
            f"{folder} names {tokenizer.assays} gene tokens but its weights have {known}, or more "
            f"assays than {rows}; take weights and vocabularies from one release"
        )
    rules = {"assay": assay or "obs['assay']"}
    path, pools = folder / _WEIGHTS, ("published", "mean")
    model = TranscriptFormer(preprocessor, network, width=width, pools=pools, files=[path], rules=rules)
    model.length = tokenizer.length
    return model
