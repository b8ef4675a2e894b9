"""Geneformer (Theodoris et al. 2023): genes ranked by expression over their median, read by BERT.

A folder holds ``config.json``, ``model.safetensors`` or ``pytorch_model.bin``, and the dictionaries
``*token_dictionary*`` and ``*median_dictionary*`` (``.json``, ``.json.gz`` or ``.pkl``): beside the
weights, or in the folder ``geneformer`` of the published repository. Several versions lie there, so the
dictionary is taken whose size is the model's vocabulary.

V1 has the tokens ``<pad>`` and ``<mask>`` alone, truncates at 2,048 and its cell vector is the mean over
genes of the second-to-last hidden state. V2 adds ``<cls>`` and ``<eos>``, reads 4,096 tokens, and its
cell vector is the cls token of the second-to-last hidden state.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from biolm.adapters.cells.rank import RankTokenizer
from biolm.errors import CheckpointError
from biolm.io.json_file import read_json
from biolm.io.safe_pickle import read_gene_dictionary
from biolm.models.preprocessor import CellPreprocessor, find_file
from biolm.vocab.genes import GeneVocabulary
from biolm.vocab.published import PublishedRule

if TYPE_CHECKING:
    from biolm.models.token_model import TokenCellModel

__all__ = ["load", "load_tokenizer", "recognises"]

_ENDINGS = (".json", ".json.gz", ".pkl", ".pickle")
_LENGTHS = {"v1": 2048, "v2": 4096}


def _dictionary_folders(folder: Path) -> list[Path]:
    """Folders with a token dictionary: the checkpoint's own, then where the published repository has them."""
    package = (folder / "geneformer", folder.parent / "geneformer")
    places = [folder, *package, *(place / "gene_dictionaries_30m" for place in package)]
    return [place for place in places if _dictionary(place, "token_dictionary")]


def _dictionary(folder: Path, name: str) -> Path | None:
    return find_file([folder], lambda file: name in file and file.endswith(_ENDINGS))


def recognises(folder: Path) -> bool:
    """Whether a folder holds a BERT checkpoint with a token dictionary of genes."""
    return (folder / "config.json").is_file() and bool(_dictionary_folders(folder))


def load_tokenizer(folder: Path) -> CellPreprocessor:
    """Genes and tokeniser of a folder; the weights are not touched and torch is not imported.

    Raises
    ------
    CheckpointError
        If a dictionary is missing, unsafe, of another version, or a token has no median.
    """
    config = read_json(folder / "config.json")
    tokens, files = _read_tokens(folder, int(config.get("vocab_size", 0)))
    medians = read_gene_dictionary(files[1])
    # A gene without a median cannot be ranked; the published tokeniser leaves it out as well.
    genes = [gene for gene in tokens if not gene.startswith("<") and gene in medians]
    if not genes:
        raise CheckpointError(f"{files[0]} and {files[1]} share no gene; take both from the same version")
    # V1 has neither: cls is what tells the versions apart.
    cls, eos = tokens.get("<cls>"), tokens.get("<eos>")
    longest = _LENGTHS["v1" if cls is None else "v2"]
    tokenizer = RankTokenizer(
        token_ids=np.array([tokens[gene] for gene in genes], np.int32),
        medians=np.array([float(medians[gene]) for gene in genes]),
        max_length=min(int(config.get("max_position_embeddings", longest)), longest),
        cls_id=cls,
        eos_id=eos,
    )
    return CellPreprocessor(
        name="geneformer",
        vocabulary=GeneVocabulary.of(genes, kind="ensembl"),
        tokenizer=tokenizer,
        special=(int(cls is not None), int(eos is not None)),
        files=files,
        published=_rule(files[0].parent, "v1" if cls is None else "v2"),
    )


def _rule(folder: Path, version: str) -> PublishedRule:
    """Look-up of the published tokeniser (geneformer/tokenizer.py), of which V2 maps ids and sums counts.

    V2 puts ids in capitals and takes them through the table ``*ensembl_mapping*``; a folder without that file
    maps each id to itself.
    """
    if version == "v1":
        return PublishedRule(system="Geneformer V1", column="ensembl_id")
    path = _dictionary(folder, "ensembl_mapping")
    mapping = None if path is None else partial(read_gene_dictionary, path)
    return PublishedRule(
        system="Geneformer V2", column="ensembl_id", rewrite=str.upper, mapping=mapping, sums=True
    )


def _read_tokens(folder: Path, vocab_size: int) -> tuple[dict[str, int], tuple[Path, Path]]:
    """Token dictionary of the model's size, and the files of it and of the medians beside it."""
    sizes = []
    for place in _dictionary_folders(folder):
        path, medians = _dictionary(place, "token_dictionary"), _dictionary(place, "median_dictionary")
        assert path is not None
        tokens = {str(gene): int(token) for gene, token in read_gene_dictionary(path).items()}
        # V1 and V2 number the same genes differently, and only the size tells which a folder is.
        if max(tokens.values(), default=-1) + 1 != vocab_size:
            sizes.append(f"{path} has {len(tokens)}")
            continue
        if medians is None:
            raise CheckpointError(
                f"{place} holds no file named *median_dictionary*; copy it from the Geneformer repository"
            )
        return tokens, (path, medians)
    listed = "; ".join(sizes) or "no file named *token_dictionary* was found"
    raise CheckpointError(
        f"{folder} needs a token dictionary of {vocab_size} tokens, but {listed}; copy the one of the same "
        "version from the Geneformer repository into the folder"
    )


def load(folder: Path) -> TokenCellModel:
    """Load a Geneformer folder, strictly.

    Raises
    ------
    CheckpointError
        If a dictionary or weight is missing, extra, mis-shaped or unsafe.
    """
    from biolm.core.checkpoint import find_weights
    from biolm.models.families.hf import from_hf
    from biolm.models.token_model import TokenCellModel

    preprocessor = load_tokenizer(folder)
    core = from_hf(folder)
    pool = "cls" if preprocessor.special[0] else "mean"
    return TokenCellModel(preprocessor, core, pool=pool, hidden_state=-2, files=find_weights(folder))
