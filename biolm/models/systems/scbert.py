"""scBERT (Yang et al. 2022): every gene of the model as a token, its expression in bins, read by a Performer.

A folder holds ``panglao_pretrain*.pth`` and the genes in order: ``genes.txt`` or the published
``panglao_10000.h5ad``. ``gene2vec*.npy`` may lie beside, and ``finetune_best*.pth`` with a classifier. A
token is the bin ``floor(log2(1 + 10,000 x / sum))``, at most 5, plus the gene2vec vector of its gene; all
16,906 genes are read, those of count 0 too, and one more token of bin 0.

scBERT has no vector of a cell of its own: the mean over genes is taken. Published attention depends on the
cells of a batch; here on the cell alone, unless ``stabiliser="batch"``.

Dimensions: ``b`` cells · ``m`` genes · ``t`` tokens · ``d`` width · ``c`` classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from biolm.batch import Tokens
from biolm.errors import CheckpointError, ConfigError
from biolm.io.cells.block import CellBlock
from biolm.models.preprocessor import CellPreprocessor, find_file
from biolm.models.systems.cell_folders import choose, gene_list
from biolm.models.systems.performer_stack import aligned, binned_core, value_bin
from biolm.vocab.genes import GeneVocabulary
from biolm.vocab.match import GeneMatch
from biolm.vocab.published import PublishedRule

if TYPE_CHECKING:
    from torch import Tensor

    from biolm.models.token_model import TokenCellModel

__all__ = ["AllGenes", "class_logits", "load", "load_tokenizer", "recognises"]

MASK = 6
_TABLES = ("panglao_10000.h5ad", "panglao_human.h5ad")


@dataclass(frozen=True, kw_only=True, eq=False)
class AllGenes:
    """Every gene of the model in order, with its bin, and a last token of bin 0.

    Parameters
    ----------
    token_ids
        ``(m,)``: the genes' own numbers.
    """

    token_ids: NDArray[np.int32]

    def __call__(self, block: CellBlock, match: GeneMatch, *, seed: int = 0) -> Tokens:  # noqa: ARG002
        """Tokens of the cells of a block; the ids are the same in every cell.

        Raises
        ------
        InputError
            If a value is negative, infinite or not a number, or the match belongs to another file.
        """
        length = len(self.token_ids) + 1
        # Genes that are not expressed are read too, so every cell has the same tokens and length.
        bins = np.zeros((len(block), length), np.int32)
        for row, (genes, values) in enumerate(aligned(block, match)):
            bins[row, genes] = value_bin(values)
        ids = np.tile(np.arange(length, dtype=np.int32), len(block))
        offsets = np.arange(len(block) + 1, dtype=np.int64) * length
        return Tokens(ids=ids, offsets=offsets, index=block.numbers, values=bins.ravel())


def _weights(folder: Path, start: str) -> Path | None:
    return find_file([folder], lambda name: name.startswith(start) and name.endswith(".pth"))


def recognises(folder: Path) -> bool:
    """Whether a folder holds a checkpoint of scBERT."""
    return _weights(folder, "panglao_pretrain") is not None


def load_tokenizer(folder: Path) -> CellPreprocessor:
    """Genes and tokeniser of a folder; the weights are not touched and torch is not imported.

    Raises
    ------
    CheckpointError
        If the list of genes is missing, or has not one gene for each vector of ``gene2vec*.npy``.
    """
    genes, path = gene_list(folder, _TABLES, source="the data of the scBERT repository (panglao_10000.h5ad)")
    vectors = find_file([folder], lambda name: name.startswith("gene2vec") and name.endswith(".npy"))
    if vectors is not None:
        rows = np.load(vectors, mmap_mode="r", allow_pickle=False).shape[0]
        if rows != len(genes):
            raise CheckpointError(
                f"{path} lists {len(genes)} genes but {vectors} holds {rows}; take both from one release"
            )
    return CellPreprocessor(
        name="scbert",
        vocabulary=GeneVocabulary.of(genes, kind="symbol", species=("human",)),
        tokenizer=AllGenes(token_ids=np.arange(len(genes), dtype=np.int32)),
        special=(0, 1),
        files=(path,),
        published=PublishedRule(system="scBERT", column="index"),
    )


def load(folder: Path, *, stabiliser: str = "document") -> TokenCellModel:
    """Load a scBERT folder, strictly.

    Parameters
    ----------
    folder
        The folder of a checkpoint.
    stabiliser
        Whose largest key feature steadies the attention: of the ``document``, a cell, or of the ``batch``, as
        published, by which a cell depends on those it is run with.

    Raises
    ------
    CheckpointError
        If a file or weight is missing, extra, mis-shaped or unsafe, or the genes are those of another model.
    ConfigError
        For another stabiliser.
    """
    from biolm.models.token_model import TokenCellModel

    choose("stabiliser", stabiliser, ("document", "batch"))
    preprocessor = load_tokenizer(folder)
    path = _weights(folder, "panglao_pretrain")
    if path is None:
        raise CheckpointError(
            f"{folder} holds no panglao_pretrain*.pth; give the folder of scBERT's checkpoint"
        )
    core, head = binned_core(path, preprocessor, special=1, mixer={"stabiliser": stabiliser})
    model = TokenCellModel(
        preprocessor, core, pool="mean", hidden_state=-1, files=[path], options={"stabiliser": stabiliser}
    )
    model.block_rows = 64
    model.bin_head, model.classifier = head, _classifier(folder, preprocessor, core.config.d_model)  # type: ignore[attr-defined]
    return model


def _classifier(folder: Path, preprocessor: CellPreprocessor, width: int) -> Any:
    """The head of a fine-tuned model: a number for each token, then three layers; None without a file."""
    from torch import nn

    from biolm.core.checkpoint import load_strict, read_torch

    path = _weights(folder, "finetune_best")
    if path is None:
        return None
    state = read_torch(path).get("model_state_dict", {})
    tensors = {
        name.removeprefix("to_out."): value for name, value in state.items() if name.startswith("to_out.")
    }
    sizes = [tensors[f"fc{i}.weight"].shape for i in (1, 2, 3) if f"fc{i}.weight" in tensors]
    # The first layer of the head reads one number a gene, so it fits one list of genes alone.
    if len(sizes) != 3 or sizes[0][1] != len(preprocessor.vocabulary) + 1:
        raise CheckpointError(f"{path} holds no classifier for these genes; take it from the same release")
    head = nn.ModuleDict({"conv1": nn.Conv2d(1, 1, (1, width))})
    head.update({f"fc{i + 1}": nn.Linear(inner, outer) for i, (outer, inner) in enumerate(sizes)})
    load_strict(head, tensors, path)
    return head.eval()


def class_logits(model: TokenCellModel, states: Tensor) -> Tensor:
    """Logits ``(b, c)`` of the fine-tuned classifier, from last states ``(b, m + 1, d)``.

    Published predictions call a cell unknown whose largest probability is under 0.5.

    Parameters
    ----------
    model
        With the classifier.
    states
        ``(b, m + 1, d)`` last states.

    Raises
    ------
    ConfigError
        If the folder holds no classifier.
    """
    head = getattr(model, "classifier", None)
    if head is None:
        raise ConfigError("the folder holds no finetune_best*.pth, so no classes are predicted")
    x = head["conv1"](states[:, None]).relu().flatten(1)
    return head["fc3"](head["fc2"](head["fc1"](x).relu()).relu())  # type: ignore[no-any-return]
