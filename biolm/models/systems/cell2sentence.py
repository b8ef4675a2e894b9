"""Cell2Sentence (Rizvi et al. 2025): a cell as its genes by falling expression, read by a language model.

Any causal model that the core reads (GPT-NeoX, Gemma 2 ...) with its ``tokenizer.json`` will do, so a folder
is named with the system: ``-m 'cell2sentence?model=FOLDER'``. Genes are written in capitals, the 200 most
expressed, inside the authors' prompt for cell types. A cell's vector is the mean of the last state over the
prompt. The authors' code also averages over the padding of a batch, which makes a vector depend on the
longest prompt beside it; nothing is padded here.

Dimensions: ``m`` genes of the vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biolm.adapters.cells.rows import prepare
from biolm.batch import Tokens
from biolm.core import SamplingOptions, generate
from biolm.core.checkpoint import find_weights
from biolm.errors import CheckpointError, ConfigError
from biolm.io.cells.block import CellBlock
from biolm.models.address import remote_address
from biolm.models.families.hf import from_hf
from biolm.models.hub import download, hub_of
from biolm.models.preprocessor import CellPreprocessor
from biolm.models.systems.cell_folders import check_rows, choose, whole_number
from biolm.models.systems.cellama import current_symbols, word_pieces
from biolm.models.token_model import TokenCellModel
from biolm.vocab.gene_table import SPECIES
from biolm.vocab.genes import GeneVocabulary
from biolm.vocab.match import GeneMatch
from biolm.vocab.published import PublishedRule

__all__ = ["Cell2Sentence", "Prompts", "gene_ranking", "load", "load_tokenizer", "recognises"]

_TOKENIZER = "tokenizer.json"
_ORGANISMS = {"human": "Homo sapiens", "mouse": "Mus musculus"}
# Source of the wording: Cell2Sentence (Apache-2.0), prompts of cell type prediction.
_PROMPT = (
    "The following is a list of {count} gene names ordered by descending expression level in a {organism} "
    "cell. Your task is to give the cell type which this cell belongs to based on its gene expression.\n"
    "Cell sentence: {sentence}.\nThe cell type corresponding to these genes is:"
)


@dataclass(frozen=True)
class Prompts:
    """Writes each cell as a prompt and cuts it into tokens.

    Parameters
    ----------
    names
        ``(m,)`` how each gene of the vocabulary is called.
    file
        The model's ``tokenizer.json``.
    genes
        Most genes of a sentence.
    species
        ``human`` or ``mouse``.
    """

    names: Sequence[str]
    file: Path
    genes: int
    species: str

    def __call__(self, block: CellBlock, match: GeneMatch, *, seed: int = 0) -> Tokens:  # noqa: ARG002
        """Packed tokens of a block; a cell without counts has none."""
        prompts = self.prompts(block, match)
        pieces = [self.encode(prompt) if prompt else [] for prompt in prompts]
        return Tokens.joined(pieces, block.numbers)

    def prompts(self, block: CellBlock, match: GeneMatch) -> list[str]:
        """The prompt of each cell, empty without counts; equal counts stand in the file's order.

        Parameters
        ----------
        block
            Cells.
        match
            Their genes in the vocabulary.
        """
        rows = prepare(block, match)
        names = match.names or self.names
        prompts = []
        for start, stop in zip(rows.indptr[:-1], rows.indptr[1:], strict=True):
            genes, values = match.target[rows.indices[start:stop]], rows.data[start:stop]
            kept = (genes >= 0) & (values > 0)
            order: NDArray[Any] = np.argsort(-values[kept].astype(np.float64), kind="stable")[: self.genes]
            words = [names[gene].upper() for gene in genes[kept][order]]
            organism, sentence = _ORGANISMS[self.species], " ".join(words)
            prompt = _PROMPT.format(count=self.genes, organism=organism, sentence=sentence)
            prompts.append(prompt if words else "")
        return prompts

    def encode(self, text: str) -> list[int]:
        """Tokens of a text."""
        return list(self._pieces.encode(text).ids)

    def decode(self, ids: Sequence[int]) -> str:
        """Text of tokens, special ones left out."""
        return str(self._pieces.decode(list(ids)))

    @property
    def top(self) -> int:
        """The largest id of a token."""
        return max(self._pieces.get_vocab().values(), default=0)

    @cached_property
    def _pieces(self) -> Any:
        return word_pieces(self.file)


class Cell2Sentence(TokenCellModel):
    """Cell2Sentence: embeds cells and names their type."""

    def describe(self) -> dict[str, Any]:
        """Metadata for provenance."""
        prompts: Any = self.preprocessor.tokenizer
        return super().describe() | {"species": prompts.species, "sentence_genes": prompts.genes}

    def cell_types(self, block: CellBlock, match: GeneMatch, *, most: int = 20) -> list[str]:
        """What the model writes behind the prompt of each cell, to the first full stop; greedy.

        Empty for a cell without counts.

        Parameters
        ----------
        block
            Cells.
        match
            Their genes in the vocabulary.
        most
            Tokens of an answer.
        """
        prompts: Any = self.preprocessor.tokenizer
        texts = prompts.prompts(block, match)
        filled = [row for row, text in enumerate(texts) if text]
        answers = [""] * len(texts)
        options = SamplingOptions(max_tokens=most, temperature=0.0)
        generated = generate(self.core, [prompts.encode(texts[row]) for row in filled], options)
        for row, result in zip(filled, generated, strict=True):
            answers[row] = prompts.decode(result.ids).split(".")[0].strip()
        return answers


def gene_ranking(sentence: str, genes: Sequence[str]) -> tuple[list[str], int]:
    """Genes of a sentence that a model wrote, by rank, and how many of its words are no genes.

    A gene that comes several times stands at its mean rank among the genes, as published.

    Parameters
    ----------
    sentence
        That a model wrote.
    genes
        Names that count.

    Examples
    --------
    >>> gene_ranking("CD3D nonsense IL7R LTB CD3D", ["CD3D", "IL7R", "LTB"])
    (['IL7R', 'CD3D', 'LTB'], 1)
    """
    known = {gene.upper() for gene in genes}
    words = sentence.upper().split()
    places: dict[str, list[int]] = {}
    for rank, word in enumerate(word for word in words if word in known):
        places.setdefault(word, []).append(rank)
    ranked = sorted(places, key=lambda gene: (sum(places[gene]) / len(places[gene]), places[gene][0]))
    return ranked, len(words) - sum(map(len, places.values()))


def recognises(folder: Path) -> bool:  # noqa: ARG001  # looks like any language model
    """A folder cannot tell that its language model reads cells, so the system is named with it."""
    return False


def _folder(model: str) -> Path:
    folder = Path(model).expanduser()
    if folder.is_dir() or remote_address(model) is None:
        return folder
    return download(hub_of(model)[0])


def load_tokenizer(*, model: str = "", species: str = "human", genes: int | str = 200) -> CellPreprocessor:
    """Prompts and tokens; the weights are not touched.

    Parameters
    ----------
    model
        Folder of the language model.
    species
        Named in the prompt.
    genes
        Genes of a sentence.

    Raises
    ------
    CheckpointError, ConfigError
        If no folder is given, it has no tokeniser, or an option is out of range.
    """
    if not model:
        raise ConfigError(
            "Cell2Sentence is read by a language model: name its folder (-m 'cell2sentence?model=FOLDER'), "
            "or fetch one with: biolm fetch vandijklab/C2S-Pythia-410m-cell-type-prediction"
        )
    choose("species", species, tuple(_ORGANISMS))
    count = whole_number("genes of a sentence", genes, 1)
    folder = _folder(model)
    file = folder / _TOKENIZER
    if not file.is_file():
        raise CheckpointError(f"{folder} holds no {_TOKENIZER}; give the folder of a causal language model")
    names = current_symbols()
    return CellPreprocessor(
        name="cell2sentence",
        vocabulary=GeneVocabulary.of(tuple(names), kind="ensembl", species=SPECIES),
        tokenizer=Prompts(tuple(names.values()), file, count, species),
        files=(file,),
        wants_counts=False,  # only the order of a cell's genes is read
        published=PublishedRule(system="Cell2Sentence", column="index", any_name=True),
    )


def load(*, model: str = "", species: str = "human", genes: int | str = 200) -> Cell2Sentence:
    """A causal language model as a model of cells.

    Parameters
    ----------
    model
        Folder or hub id of the language model.
    species
        ``human`` or ``mouse``, as the prompt says.
    genes
        Most genes of a sentence; the published models for cell types were trained with 200.

    Raises
    ------
    CheckpointError, ConfigError
        If no folder is given, it holds no causal model, or an option is out of range.
    """
    preprocessor = load_tokenizer(model=model, species=species, genes=genes)
    folder = _folder(model)
    core = from_hf(folder)
    # An encoder would load as well, and its vectors would mean nothing here.
    if not core.config.causal:
        raise CheckpointError(f"{folder} holds no causal language model, which Cell2Sentence is read by")
    top: int = preprocessor.tokenizer.top  # type: ignore[attr-defined]  # Prompts
    files = find_weights(folder)
    check_rows(folder / _TOKENIZER, top, files[0], core.config.vocab_size)
    return Cell2Sentence(preprocessor, core, pool="mean", hidden_state=-1, files=files)
