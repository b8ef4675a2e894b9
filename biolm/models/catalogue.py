"""The models that biolm knows by name: one entry each, whose module is imported on first use."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Any

from biolm.errors import ConfigError

__all__ = ["BUILT_IN", "DEFAULT_GENES", "DEFAULT_MODEL", "Entry"]

DEFAULT_MODEL = "cellfactors"
"""What reads cells where no model is named; ``docs/explanation/decisions`` says why."""

DEFAULT_GENES = "genetext"
"""Whose table of gene vectors is taken where no model is named."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One model that biolm knows by name.

    Parameters
    ----------
    name
        What the user types.
    module
        The module that holds ``load`` and ``recognises``, or ``module:object``; by default the file of that
        name in ``biolm.models.systems``.
    summary
        One line for ``biolm models``.
    files
        What the folder of a checkpoint holds; empty for a model that loads by its name alone.
    reads
        ``cells``, ``proteins``, ``DNA`` ...: what ``biolm models`` groups systems by.
    hidden
        Whether the name is internal: users give the folder of such a model, never its name.
    """

    name: str
    module: str = ""
    summary: str
    files: str = ""
    reads: str = "cells"
    hidden: bool = False

    def __post_init__(self) -> None:
        if not self.module:
            object.__setattr__(self, "module", f"biolm.models.systems.{self.name}")

    @property
    def built_in(self) -> bool:
        """Whether the name alone is enough to load it."""
        return not self.files

    def imported(self) -> Any:
        """The module, or the object in it, imported on first use.

        Raises
        ------
        ConfigError
            If it cannot be imported, for example because an extra is not installed.
        """
        path, _, name = self.module.partition(":")
        try:
            module = import_module(path)
        # A system may need an extra; all others must work without it.
        except ImportError as error:
            raise ConfigError(
                f"model {self.name} cannot be used because {error.name or path} is not installed"
            ) from error
        return getattr(module, name) if name else module


BUILT_IN: tuple[Entry, ...] = (
    Entry(
        name="cellfactors",
        summary="the default: factors of cells and gene text, any gene panel; human, mouse; ships with biolm",
    ),
    Entry(
        name="genetext",
        summary="gene-text vectors, weighted mean over a cell's genes; human and mouse; ships with biolm",
    ),
    Entry(
        name="cellama",
        summary="a cell as a sentence of its top genes, read by MiniLM; needs the extra 'text'",
    ),
    Entry(
        name="biolm-cell-mini",
        module="biolm.models.systems.cell_mini",
        summary="small transformer of human cells, for small gene panels; ships with biolm",
    ),
    Entry(
        name="geneformer",
        summary="Geneformer V1 and V2: genes ranked by expression, BERT encoder",
        files="config.json, model.safetensors or pytorch_model.bin, and the gene dictionaries",
    ),
    Entry(
        name="scgpt",
        summary="scGPT: genes with binned expression values, encoder",
        files="args.json, vocab.json and best_model.pt",
    ),
    Entry(
        name="scfoundation",
        summary="scFoundation: expressed ones of 19,264 human genes with continuous values; encoder and "
        "Performer decoder",
        files="models.ckpt and OS_scRNA_gene_index.19264.tsv (or genes.txt)",
    ),
    Entry(
        name="scbert",
        summary="scBERT: every one of 16,906 human genes with its bin of expression, Performer",
        files="panglao_pretrain*.pth and genes.txt or panglao_10000.h5ad",
    ),
    Entry(
        name="celllm",
        summary="CellLM: expressed human genes with bins of expression, Performer",
        files="checkpoint*.pth and genes.txt",
    ),
    Entry(
        name="nicheformer",
        summary="Nicheformer: human and mouse genes ranked over technology means, encoder; "
        "dissociated and spatial cells",
        files="nicheformer.ckpt, model.h5ad and the TECHNOLOGY_mean_script.npy of the published repository",
    ),
    Entry(
        name="scimilarity",
        summary="SCimilarity: counts of 28,000 human genes, encoder trained on triplets of cells",
        files="encoder.ckpt and gene_order.tsv",
    ),
    Entry(
        name="tgpt",
        summary="tGPT: top 62 human genes of a cell as a sentence, GPT-2",
        files="config.json, its weights and the tokenizer.json of whole genes",
    ),
    Entry(
        name="native",
        module="biolm.models.native",
        summary="models of cells or sequences trained with biolm pretrain",
        files="config.json, model.safetensors, vocab.json, preprocessing.json, as biolm pretrain writes them",
        reads="cells or sequences",
        hidden=True,
    ),
    Entry(
        name="esm",
        summary="ESM-1b, ESM-1v, ESM-2: proteins, encoder",
        files="config.json and its weights, or an original esm*.pt of fair-esm",
        reads="proteins",
    ),
    Entry(
        name="esmc",
        summary="ESM C: proteins, encoder",
        files="config.json and its weights, or an esmc*.pth of the first release",
        reads="proteins",
    ),
    Entry(
        name="protbert",
        module="biolm.models.systems.sequence_table:PROTBERT",
        summary="ProtBERT: proteins, encoder",
        files="config.json, its weights and vocab.txt",
        reads="proteins",
    ),
    Entry(
        name="prott5",
        module="biolm.models.systems.sequence_table:PROTT5",
        summary="ProtT5: proteins, encoder of T5",
        files="config.json and its weights",
        reads="proteins",
    ),
    Entry(
        name="progen2",
        module="biolm.models.systems.sequence_table:PROGEN2",
        summary="ProGen2: proteins, decoder",
        files="config.json and its weights",
        reads="proteins",
    ),
    Entry(
        name="iglm",
        summary="IgLM: antibodies, decoder; read as human heavy chains",
        files="config.json, its weights and vocab.txt, there or one folder up",
        reads="proteins",
    ),
    Entry(
        name="amplify",
        module="biolm.models.systems.sequence_table:AMPLIFY",
        summary="AMPLIFY: proteins, encoder",
        files="config.json and its weights",
        reads="proteins",
    ),
    Entry(
        name="nucleotide_transformer",
        module="biolm.models.systems.sequence_table:NUCLEOTIDE_TRANSFORMER",
        summary="Nucleotide Transformer v1 and v2: DNA in 6-mers, encoder",
        files="config.json and its weights",
        reads="DNA",
    ),
    Entry(
        name="dnabert2",
        module="biolm.models.systems.sequence_table:DNABERT2",
        summary="DNABERT-2: DNA in byte pairs, encoder",
        files="config.json, its weights and tokenizer.json",
        reads="DNA",
    ),
    Entry(
        name="gena",
        module="biolm.models.systems.sequence_table:GENA",
        summary="GENA-LM and ModernGENA: DNA in byte pairs, encoder",
        files="config.json, its weights and tokenizer.json",
        reads="DNA",
    ),
    Entry(
        name="grover",
        module="biolm.models.systems.sequence_table:GROVER",
        summary="GROVER: DNA in byte pairs, encoder",
        files="config.json, its weights and tokenizer.json",
        reads="DNA",
    ),
    Entry(
        name="genomeocean",
        module="biolm.models.systems.sequence_table:GENOMEOCEAN",
        summary="GenomeOcean and kin: DNA in byte pairs, decoder",
        files="config.json, its weights and tokenizer.json",
        reads="DNA",
    ),
    Entry(
        name="evo2",
        summary="Evo 2: genomes of all domains of life, decoder of convolutions and attention",
        files="its .yml config (or config.json) and NAME.pt, its parts or safetensors",
        reads="DNA",
    ),
    Entry(
        name="evo1",
        summary="Evo 1 and 1.5: prokaryotic genomes, decoder of convolutions and attention",
        files="config.json and its weights",
        reads="DNA",
    ),
    Entry(
        name="hyenadna",
        summary="HyenaDNA: human genome, decoder of convolutions",
        files="config.json and its weights, or the weights.ckpt of the first release",
        reads="DNA",
    ),
    Entry(
        name="sctrans",
        summary="scTrans: one query over the expressed genes; trained on each data set, no published weights",
        files="pretrained_model.pth or finetuned_model.pth, and reference_word_dic.pk",
    ),
    Entry(
        name="scconcept",
        summary="scConcept: genes ranked by count, contrasted over gene panels",
        files="model.ckpt, config.yaml and gene_mappings/SPECIES.csv",
    ),
    Entry(
        name="uce",
        summary="UCE: genes drawn by expression as protein vectors, any species",
        files="4layer_model.torch or 33l_*.torch, species_chrom.csv, species_offsets.pkl and "
        "protein_embeddings/",
    ),
    Entry(
        name="cellplm",
        summary="CellPLM: cells as tokens that see the other cells of their group",
        files="NAME.config.json with its gene_list, and NAME.best.ckpt",
    ),
    Entry(
        name="transcriptformer",
        summary="TranscriptFormer: genes as protein vectors, count-biased decoder, 12 species",
        files="config.json, model_weights.pt, vocabs/*.h5 and vocabs/assay_vocab.json",
    ),
    Entry(
        name="concerto",
        summary="Concerto: attention over expressed genes, contrasted; Keras weights of your own runs",
        files="weight_encoder_epoch*.h5 and genes.txt",
    ),
    Entry(
        name="cell2sentence",
        summary="Cell2Sentence: a cell as ranked gene names, read by a language model: -m "
        "'cell2sentence?model=FOLDER'",
    ),
    Entry(
        name="tahoe",
        summary="Tahoe-x1: genes with binned counts, encoder of 70 million to 3 billion parameters",
        files="model.safetensors, model_config.yml, collator_config.yml and vocab.json",
    ),
    Entry(
        name="scprint",
        summary="scPRINT: human and mouse genes as protein vectors with counts, tokens of classes, encoder",
        files="small.ckpt, medium.ckpt, large.ckpt or v2-medium.ckpt",
    ),
    # Last: it recognises any folder of a family, so systems that add genes to one come before it.
    Entry(
        name="transformer",
        module="biolm.models.systems.plain",
        summary="the bare core of a published family, such as BERT, ESM-2 or Llama; reads no cells",
        files="config.json and its weights, as save_pretrained writes them",
        reads="the bare core",
    ),
)
