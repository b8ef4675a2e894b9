"""The models that biolm knows by name: one entry each, whose module is imported on first use."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from types import ModuleType

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
        The module that holds ``load`` and ``recognises``.
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
    module: str
    summary: str
    files: str = ""
    reads: str = "cells"
    hidden: bool = False

    @property
    def built_in(self) -> bool:
        """Whether the name alone is enough to load it."""
        return not self.files

    def imported(self) -> ModuleType:
        """The module, imported on first use.

        Raises
        ------
        ConfigError
            If it cannot be imported, for example because an extra is not installed.
        """
        try:
            return import_module(self.module)
        except ImportError as error:
            raise ConfigError(
                f"model {self.name} cannot be used because {error.name or self.module} is not installed"
            ) from error


BUILT_IN: tuple[Entry, ...] = (
    Entry(
        name="cellfactors",
        module="biolm.models.systems.cellfactors",
        summary="the default: factors of cells and gene text, any gene panel; human, mouse; ships with biolm",
    ),
    Entry(
        name="genetext",
        module="biolm.models.systems.genetext",
        summary="gene-text vectors, weighted mean over a cell's genes; human and mouse; ships with biolm",
    ),
    Entry(
        name="cellama",
        module="biolm.models.systems.cellama",
        summary="a cell as a sentence of its top genes, read by MiniLM; needs the extra 'text'",
    ),
    Entry(
        name="biolm-cell-mini",
        module="biolm.models.systems.cell_mini",
        summary="small transformer of human cells, for small gene panels; ships with biolm",
    ),
    Entry(
        name="geneformer",
        module="biolm.models.systems.geneformer",
        summary="Geneformer V1 and V2: genes ranked by expression, BERT encoder",
        files="config.json, model.safetensors or pytorch_model.bin, and the gene dictionaries",
    ),
    Entry(
        name="scgpt",
        module="biolm.models.systems.scgpt",
        summary="scGPT: genes with binned expression values, encoder",
        files="args.json, vocab.json and best_model.pt",
    ),
    Entry(
        name="scfoundation",
        module="biolm.models.systems.scfoundation",
        summary="scFoundation: expressed ones of 19,264 human genes with continuous values; encoder and "
        "Performer decoder",
        files="models.ckpt and OS_scRNA_gene_index.19264.tsv (or genes.txt)",
    ),
    Entry(
        name="scbert",
        module="biolm.models.systems.scbert",
        summary="scBERT: every one of 16,906 human genes with its bin of expression, Performer",
        files="panglao_pretrain*.pth and genes.txt or panglao_10000.h5ad",
    ),
    Entry(
        name="celllm",
        module="biolm.models.systems.celllm",
        summary="CellLM: expressed human genes with bins of expression, Performer",
        files="checkpoint*.pth and genes.txt",
    ),
    Entry(
        name="nicheformer",
        module="biolm.models.systems.nicheformer",
        summary="Nicheformer: human and mouse genes ranked over technology means, encoder; "
        "dissociated and spatial cells",
        files="nicheformer.ckpt, model.h5ad and the TECHNOLOGY_mean_script.npy of the published repository",
    ),
    Entry(
        name="scimilarity",
        module="biolm.models.systems.scimilarity",
        summary="SCimilarity: counts of 28,000 human genes, encoder trained on triplets of cells",
        files="encoder.ckpt and gene_order.tsv",
    ),
    Entry(
        name="tgpt",
        module="biolm.models.systems.tgpt",
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
        module="biolm.models.systems.esm",
        summary="ESM-1b, ESM-1v, ESM-2: proteins, encoder",
        files="config.json and its weights, or an original esm*.pt of fair-esm",
        reads="proteins",
    ),
    Entry(
        name="esmc",
        module="biolm.models.systems.esmc",
        summary="ESM C: proteins, encoder",
        files="config.json and its weights, or an esmc*.pth of the first release",
        reads="proteins",
    ),
    Entry(
        name="protbert",
        module="biolm.models.systems.protbert",
        summary="ProtBERT: proteins, encoder",
        files="config.json, its weights and vocab.txt",
        reads="proteins",
    ),
    Entry(
        name="prott5",
        module="biolm.models.systems.prott5",
        summary="ProtT5: proteins, encoder of T5",
        files="config.json and its weights",
        reads="proteins",
    ),
    Entry(
        name="progen2",
        module="biolm.models.systems.progen2",
        summary="ProGen2: proteins, decoder",
        files="config.json and its weights",
        reads="proteins",
    ),
    Entry(
        name="iglm",
        module="biolm.models.systems.iglm",
        summary="IgLM: antibodies, decoder; read as human heavy chains",
        files="config.json, its weights and vocab.txt, there or one folder up",
        reads="proteins",
    ),
    Entry(
        name="amplify",
        module="biolm.models.systems.amplify",
        summary="AMPLIFY: proteins, encoder",
        files="config.json and its weights",
        reads="proteins",
    ),
    Entry(
        name="nucleotide_transformer",
        module="biolm.models.systems.nucleotide_transformer",
        summary="Nucleotide Transformer v1 and v2: DNA in 6-mers, encoder",
        files="config.json and its weights",
        reads="DNA",
    ),
    Entry(
        name="dnabert2",
        module="biolm.models.systems.dnabert2",
        summary="DNABERT-2: DNA in byte pairs, encoder",
        files="config.json, its weights and tokenizer.json",
        reads="DNA",
    ),
    Entry(
        name="gena",
        module="biolm.models.systems.gena",
        summary="GENA-LM and ModernGENA: DNA in byte pairs, encoder",
        files="config.json, its weights and tokenizer.json",
        reads="DNA",
    ),
    Entry(
        name="grover",
        module="biolm.models.systems.grover",
        summary="GROVER: DNA in byte pairs, encoder",
        files="config.json, its weights and tokenizer.json",
        reads="DNA",
    ),
    Entry(
        name="genomeocean",
        module="biolm.models.systems.genomeocean",
        summary="GenomeOcean and kin: DNA in byte pairs, decoder",
        files="config.json, its weights and tokenizer.json",
        reads="DNA",
    ),
    Entry(
        name="evo2",
        module="biolm.models.systems.evo2",
        summary="Evo 2: genomes of all domains of life, decoder of convolutions and attention",
        files="its .yml config (or config.json) and NAME.pt, its parts or safetensors",
        reads="DNA",
    ),
    Entry(
        name="evo1",
        module="biolm.models.systems.evo1",
        summary="Evo 1 and 1.5: prokaryotic genomes, decoder of convolutions and attention",
        files="config.json and its weights",
        reads="DNA",
    ),
    Entry(
        name="hyenadna",
        module="biolm.models.systems.hyenadna",
        summary="HyenaDNA: human genome, decoder of convolutions",
        files="config.json and its weights, or the weights.ckpt of the first release",
        reads="DNA",
    ),
    Entry(
        name="sctrans",
        module="biolm.models.systems.sctrans",
        summary="scTrans: one query over the expressed genes; trained on each data set, no published weights",
        files="pretrained_model.pth or finetuned_model.pth, and reference_word_dic.pk",
    ),
    Entry(
        name="scconcept",
        module="biolm.models.systems.scconcept",
        summary="scConcept: genes ranked by count, contrasted over gene panels",
        files="model.ckpt, config.yaml and gene_mappings/SPECIES.csv",
    ),
    Entry(
        name="uce",
        module="biolm.models.systems.uce",
        summary="UCE: genes drawn by expression as protein vectors, any species",
        files="4layer_model.torch or 33l_*.torch, species_chrom.csv, species_offsets.pkl and "
        "protein_embeddings/",
    ),
    Entry(
        name="cellplm",
        module="biolm.models.systems.cellplm",
        summary="CellPLM: cells as tokens that see the other cells of their group",
        files="NAME.config.json with its gene_list, and NAME.best.ckpt",
    ),
    Entry(
        name="transcriptformer",
        module="biolm.models.systems.transcriptformer",
        summary="TranscriptFormer: genes as protein vectors, count-biased decoder, 12 species",
        files="config.json, model_weights.pt, vocabs/*.h5 and vocabs/assay_vocab.json",
    ),
    Entry(
        name="concerto",
        module="biolm.models.systems.concerto",
        summary="Concerto: attention over expressed genes, contrasted; Keras weights of your own runs",
        files="weight_encoder_epoch*.h5 and genes.txt",
    ),
    Entry(
        name="cell2sentence",
        module="biolm.models.systems.cell2sentence",
        summary="Cell2Sentence: a cell as ranked gene names, read by a language model: -m "
        "'cell2sentence?model=FOLDER'",
    ),
    Entry(
        name="tahoe",
        module="biolm.models.systems.tahoe",
        summary="Tahoe-x1: genes with binned counts, encoder of 70 million to 3 billion parameters",
        files="model.safetensors, model_config.yml, collator_config.yml and vocab.json",
    ),
    Entry(
        name="scprint",
        module="biolm.models.systems.scprint",
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
