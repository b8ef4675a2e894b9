"""Small folders of every registered system of cells, laid out as their authors publish them.

Weights are the recorded ones where there are some, and random otherwise.
"""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from perturb import perturb

from biolm.io.cells import open_cells

__all__ = ["BUILT_IN", "FOLDERS", "WITHOUT_GOLDENS", "address", "concerto_weights", "gene_names"]

_SHIPPED = Path(__file__).resolve().parents[2] / "data" / "cells" / "pbmc68k_reduced_counts_700.h5ad"


def gene_names(column: str, most: int) -> list[str]:
    """Names of genes of the shipped cells: ``index`` for symbols, or ``ensembl_id``."""
    with open_cells(_SHIPPED) as source:
        return [str(name) for name in source.gene_columns()[column] if str(name)][:most]


def _copied(source: Path, folder: Path, *names: str) -> Path:
    for path in sorted(source.rglob("*")):
        if path.is_file() and (not names or path.name in names):
            target = folder / path.relative_to(source)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
    return folder


def geneformer(folder: Path, goldens: Path | None = None, *, version: str = "v2") -> str:
    """A small Geneformer."""
    from transformers import BertConfig, BertForMaskedLM

    genes = sorted(gene_names("ensembl_id", 765))[:400]
    special = ["<pad>", "<mask>"] + (["<cls>", "<eos>"] if version == "v2" else [])
    rng = np.random.default_rng(0)
    tokens = {name: i for i, name in enumerate(special + genes)}
    medians = {gene: float(x) for gene, x in zip(genes, rng.lognormal(0, 1, len(genes)), strict=True)}
    config = BertConfig(
        vocab_size=len(tokens), hidden_size=32, num_hidden_layers=3, num_attention_heads=4,
        intermediate_size=48, max_position_embeddings=200, hidden_act="relu", layer_norm_eps=1e-12,
    )  # fmt: skip
    perturb(BertForMaskedLM(config)).save_pretrained(folder)
    (folder / "token_dictionary.json").write_text(json.dumps(tokens))
    with (folder / "gene_median_dictionary.pkl").open("wb") as file:
        pickle.dump({gene: np.float64(x) for gene, x in medians.items()}, file)
    return str(folder)


def scgpt(folder: Path, goldens: Path) -> str:
    """The recorded scGPT, which reads 60 tokens of a cell."""
    _copied(goldens / "scgpt" / "checkpoint", folder)
    args = json.loads((folder / "args.json").read_text())
    (folder / "args.json").write_text(json.dumps(args | {"max_seq_len": 60}))
    return str(folder)


def celllm(folder: Path, goldens: Path) -> str:
    """The recorded CellLM with names of genes."""
    _copied(goldens / "celllm", folder)
    (folder / "genes.txt").write_text("\n".join(gene_names("index", 150)))
    return str(folder)


def nicheformer(folder: Path, goldens: Path) -> str:
    """The recorded Nicheformer with genes and means of one technology."""
    import anndata

    golden = goldens / "nicheformer"
    _copied(golden, folder, "nicheformer.ckpt")
    genes = anndata.read_h5ad(golden / "cells.h5ad").var_names
    (folder / "genes.txt").write_text("\n".join(genes))
    np.save(folder / "dissociated_mean_script.npy", np.load(golden / "tokenisation.npz")["dissociated/mean"])
    return f"{folder}?specie=human&assay=10x 3' v3&modality=dissociated"


def scconcept(folder: Path, goldens: Path) -> str:
    """The recorded scConcept with a gene mapping."""
    (folder / "gene_mappings").mkdir()
    names = gene_names("ensembl_id", 258)
    rows = [f"{name},{token}" for token, name in enumerate(["<cls>", "<pad>", *names])]
    (folder / "gene_mappings" / "hsapiens.csv").write_text("\n".join(["gene_id,token", *rows]))
    _copied(goldens / "scconcept", folder, "config.json", "model.ckpt")
    return str(folder)


def uce(folder: Path, goldens: Path) -> str:
    """The recorded UCE with side files as figshare has them."""
    names = gene_names("index", 400)
    _copied(goldens / "uce", folder, "config.json", "model.torch")
    (folder / "protein_embeddings").mkdir()
    proteins = {name: torch.zeros(40) for name in names}
    torch.save(
        proteins, folder / "protein_embeddings" / "Homo_sapiens.GRCh38.gene_symbol_to_embedding_ESM2.pt"
    )
    (folder / "species_offsets.pkl").write_bytes(pickle.dumps({"human": 10}))
    lines = [f"human,{name},{number % 7},{1000 - number}" for number, name in enumerate(names)]
    (folder / "species_chrom.csv").write_text("\n".join(["species,gene_symbol,chromosome,start", *lines]))
    return f"{folder}?padding=masked"


def transcriptformer(folder: Path, goldens: Path) -> str:
    """The recorded TranscriptFormer with vocabularies in files."""
    golden = goldens / "transcriptformer"
    config = json.loads((golden / "config.json").read_text())
    special = ["unknown", "[PAD]", "[START]", "[END]", "[RD]", "[CELL]", "[MASK]"]
    data = {"special_tokens": special, "esm2_mappings": ["homo_sapiens_gene.h5"], "clip_counts": 30}
    model = {"data_config": data, "model_config": config["model_config"]}
    (folder / "config.json").write_text(json.dumps({"model": model}))
    (folder / "vocabs").mkdir()
    (folder / "vocabs" / "assay_vocab.json").write_text(json.dumps(config["aux_vocab"]["assay"]))
    with h5py.File(folder / "vocabs" / "homo_sapiens_gene.h5", "w") as file:
        file["keys"] = np.array(gene_names("ensembl_id", 150), dtype="S")
    _copied(golden, folder, "model_weights.pt")
    return f"{folder}?assay=unknown"


class WordIdxDic:
    """Genes and their numbers as scTrans pickles them: an object of its own class."""

    def __init__(self, numbers: Mapping[str, int]) -> None:
        self.word2idx_dic, self.idx2word_dic = dict(numbers), {row: name for name, row in numbers.items()}


def sctrans(folder: Path, goldens: Path) -> str:
    """The recorded scTrans with its dictionary of genes."""
    names = [name.lower() for name in gene_names("index", 318)]
    held = WordIdxDic({name: number for number, name in enumerate(["[pad]", "[cls]", *names])})
    # The same bytes as from the published module, which is not installed here.
    pickled = pickle.dumps(held, protocol=2).replace(WordIdxDic.__module__.encode(), b"models.utils", 1)
    (folder / "reference_word_dic.pk").write_bytes(pickled)
    shutil.copyfile(goldens / "sctrans" / "pretrained.pth", folder / "pretrained_model.pth")
    return str(folder)


def concerto_weights(genes: int, width: int = 12, out: int = 10) -> dict[str, np.ndarray[Any, Any]]:
    """Weights of Concerto's teacher under the names that Keras gives them."""
    rng = np.random.default_rng(0)
    attention = "attention_with_context/attention_with_context/attention_with_context"
    shapes: dict[str, tuple[int, ...]] = {
        "Gene-Embedding/Gene-Embedding/embeddings:0": (genes, width),
        f"{attention}_W:0": (width, width),
        f"{attention}_b:0": (width,),
        f"{attention}_u:0": (width,),
        "projection-1/projection-1/kernel:0": (width, out),
        "projection-1/projection-1/bias:0": (out,),
    }
    norms = (("Gene-BN-1", 1), ("Gene-BN-3", width))
    for name, size in norms:
        shapes |= {f"{name}/{name}/{part}:0": (size,) for part in ("gamma", "beta", "moving_mean")}
    found = {name: rng.normal(0, 0.5, shape).astype(np.float32) for name, shape in shapes.items()}
    for name, size in norms:
        found[f"{name}/{name}/moving_variance:0"] = rng.uniform(0.5, 1.5, size).astype(np.float32)
    return found


def concerto(folder: Path, goldens: Path | None = None) -> str:
    """A teacher's weights as Keras saves them, and its genes."""
    names = gene_names("index", 200)
    (folder / "genes.txt").write_text("\n".join(names))
    with h5py.File(folder / "weight_encoder_epoch3.h5", "w") as file:
        for name, array in concerto_weights(len(names)).items():
            file[name] = array
    return str(folder)


def cell2sentence(folder: Path, goldens: Path | None = None) -> str:
    """A small GPT-NeoX with a tokeniser of words."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

    genes = [name.upper() for name in gene_names("index", 765)]
    text = "The following is a list of gene names ordered by descending expression level in a cell"
    words = dict.fromkeys(["<unk>", *text.split(), *genes])
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    config = GPTNeoXConfig(
        vocab_size=len(words), hidden_size=32, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=48, max_position_embeddings=200, bos_token_id=0, eos_token_id=0,
    )  # fmt: skip
    perturb(GPTNeoXForCausalLM(config)).save_pretrained(folder)
    tokenizer.save(str(folder / "tokenizer.json"))
    return f"cell2sentence?model={folder}&genes=30"


TAHOE: Mapping[str, Any] = {
    "d_model": 24, "n_layers": 2, "n_heads": 3, "expansion_ratio": 2, "norm_scheme": "pre",
    "transformer_activation": "relu", "attn_config": {"attn_impl": "flash", "kv_nheads": 3},
    "norm_config": {"norm_type": "layernorm", "eps": 1e-5}, "gene_encoder": {"use_norm": True},
    "expression_encoder": {"activation": "relu", "max_value": 512, "use_norm": True},
    "expression_decoder": {"n_outputs": 1, "n_layers": 1},
}  # fmt: skip
"""The fields of a small ``model_config.yml`` of Tahoe-x1."""


def tahoe_weights(genes: int, settings: Mapping[str, Any] = TAHOE) -> dict[str, torch.Tensor]:
    """Random weights of Tahoe-x1 under their published names."""
    generator = torch.Generator().manual_seed(0)
    width, inner = settings["d_model"], settings["expansion_ratio"] * settings["d_model"]
    linear = {"expression_encoder.linear1": (width, 1), "expression_encoder.linear2": (width, width)}
    norms = ["gene_encoder.enc_norm", "expression_encoder.norm", "transformer_encoder.norm"]
    for number in range(settings["n_layers"]):
        layer = f"transformer_encoder.layers.{number}"
        linear |= {
            f"{layer}.self_attn.Wqkv": (3 * width, width),
            f"{layer}.self_attn.out_proj": (width, width),
            f"{layer}.up_proj": (inner, width),
            f"{layer}.down_proj": (width, inner),
        }
        if settings.get("use_glu"):
            linear[f"{layer}.gate_proj"] = (inner, width)
        norms += [f"{layer}.norm1", f"{layer}.norm2"]
    linear |= {
        "expression_decoder.linear_layers.0": (width, width),
        "expression_decoder.out_proj": (1, width),
    }
    shapes = {f"{name}.weight": shape for name, shape in linear.items()}
    shapes |= {f"{name}.bias": shape[:1] for name, shape in linear.items()}
    shapes |= {f"{name}.{part}": (width,) for name in norms for part in ("weight", "bias")}
    shapes |= {"gene_encoder.embedding.weight": (genes, width), "flag_encoder.weight": (2, width)}
    found = {name: 0.4 * torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    for name in norms:
        found[f"{name}.weight"] += 1
    return {f"model.{name}": tensor for name, tensor in found.items()}


def tahoe(folder: Path, goldens: Path | None = None, **settings: Any) -> str:
    """A small Tahoe-x1 that was trained with a drug token."""
    from safetensors.torch import save_file

    names = ["<pad>", "<cls>", "<drug>", *gene_names("ensembl_id", 300)]
    (folder / "vocab.json").write_text(json.dumps({name: token for token, name in enumerate(names)}))
    model = {**TAHOE, **settings}
    # JSON is YAML too.
    (folder / "model_config.yml").write_text(json.dumps(model))
    collator = {"num_bins": 51, "pad_value": -2, "keep_first_n_tokens": 2, "use_chem_token": True}
    (folder / "collator_config.yml").write_text(json.dumps(collator))
    save_file(tahoe_weights(len(names), model), folder / "model.safetensors")
    return f"{folder}?max_length=80"


SCPRINT: Mapping[str, Any] = {
    "d_model": 24, "nhead": 3, "nlayers": 2, "num_heads_kv": None, "expr_encoder_layers": 2,
    "expr_emb_style": "continuous", "cell_emb_style": "cls", "attn_bias": "none", "prenorm": True,
    "normalization": "sum", "mvc_decoder": "inner product",
    "classes": {
        f"{name}_ontology_term_id": size
        for name, size in (("cell_type", 9), ("disease", 4), ("assay", 3), ("self_reported_ethnicity", 5),
                           ("sex", 2), ("organism", 2))
    },
}  # fmt: skip
"""Hyper-parameters of a small scPRINT."""


def scprint_weights(settings: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    """Random weights of scPRINT under their published names; decoders are cut short."""
    generator = torch.Generator().manual_seed(0)
    width, genes = settings["d_model"], len(settings["genes"])
    kv = (settings["num_heads_kv"] or settings["nhead"]) * (width // settings["nhead"])
    linear, norms = {}, ["transformer.norm"]
    for name in ("expr_encoder", "depth_encoder"):
        linear |= {f"{name}.encoder.0": (width, 1), f"{name}.encoder.4": (width, width)}
        norms.append(f"{name}.encoder.1")
    for number in range(settings["nlayers"]):
        layer = f"transformer.blocks.{number}"
        linear |= {
            f"{layer}.mixer.Wqkv": (width + 2 * kv, width),
            f"{layer}.mixer.out_proj": (width, width),
            f"{layer}.mlp.fc1": (4 * width, width),
            f"{layer}.mlp.fc2": (width, 4 * width),
        }
        norms += [f"{layer}.norm1", f"{layer}.norm2"]
    linear |= {f"cls_decoders.{name}.out_layer": (size, 16) for name, size in settings["classes"].items()}
    linear |= {
        "expr_decoder.pred_var_zero": (3, width),
        "mvc_decoder.gene2query": (width, width),
        "grad_reverse_discriminator_loss.out_layer": (7, width),
    }
    shapes: dict[str, tuple[int, ...]] = {f"{name}.weight": shape for name, shape in linear.items()}
    shapes |= {f"{name}.bias": shape[:1] for name, shape in linear.items()}
    shapes |= {f"{name}.{part}": (width,) for name in norms for part in ("weight", "bias")}
    shapes["gene_encoder.embedding.weight"] = (genes, width)
    shapes["class_encoder.embedding.weight"] = (len(settings["classes"]) + 1, width)
    if settings["gene_pos_enc"] is not None:
        shapes["pos_encoder.pe"] = (genes, 1, width)
    found = {name: 0.4 * torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    for name in norms:
        found[f"{name}.weight"] += 1
    return found


def scprint(folder: Path, goldens: Path | None = None, **changes: Any) -> str:
    """A small scPRINT of human and mouse genes, as Lightning saves it."""
    genes = [*gene_names("ensembl_id", 300), *(f"ENSMUSG{number:011}" for number in range(40))]
    settings = {"genes": genes, "gene_pos_enc": list(range(1, len(genes) + 1)), **SCPRINT, **changes}
    checkpoint = {
        "epoch": 3, "global_step": 10, "pytorch-lightning_version": "2.4.0",
        "state_dict": scprint_weights(settings), "hyper_parameters": settings,
    }  # fmt: skip
    torch.save(checkpoint, folder / "medium.ckpt")
    return f"{folder}?genes=80"


def native(folder: Path, goldens: Path | None = None) -> str:
    """A small model as `biolm pretrain` writes it, with the bins and the embeddings of scGPT."""
    from biolm.adapters.cells import BinTokenizer
    from biolm.core import CoreConfig, Transformer
    from biolm.models import native as own
    from biolm.models.preprocessor import CellPreprocessor
    from biolm.vocab.genes import GeneVocabulary

    genes = gene_names("ensembl_id", 300)
    vocabulary = {name: token for token, name in enumerate(["<pad>", "<mask>", "<cls>", *genes])}
    tokenizer = BinTokenizer(token_ids=np.arange(3, 303, dtype=np.int32), n_bins=51, max_length=70, cls_id=2)
    preprocessor = CellPreprocessor(
        name="native", vocabulary=GeneVocabulary.of(genes), tokenizer=tokenizer, special=(1, 0)
    )
    config = CoreConfig(
        vocab_size=303, d_model=16, n_layers=2, n_heads=2, d_ff=24, position="none",
        value_encoder="continuous", embedder="normed_values", part_options={"normed_values": {"clip": 512.0}},
    )  # fmt: skip
    saved = own.Saved(preprocessor=preprocessor, vocabulary=vocabulary, core=config, pool="cls")
    own.save(folder, saved, perturb(Transformer(config)).state_dict())
    return str(folder)


def _recorded(name: str, options: str = "") -> Callable[[Path, Any], str]:
    """The recorded folder as it is."""

    def copied(folder: Path, goldens: Path) -> str:
        return f"{_copied(goldens / name, folder)}{options}"

    return copied


BUILT_IN = ("cellfactors", "genetext", "cellama", "biolm-cell-mini")
"""Systems that ship with biolm."""

WITHOUT_GOLDENS = (*BUILT_IN, "geneformer", "concerto", "cell2sentence", "tahoe", "scprint", "native")
"""Systems whose small folders need no recorded files."""

FOLDERS: Mapping[str, Callable[[Path, Any], str]] = {
    "geneformer": geneformer,
    "scgpt": scgpt,
    "tgpt": _recorded("tgpt"),
    "scimilarity": _recorded("scimilarity"),
    "nicheformer": nicheformer,
    "scbert": _recorded("scbert"),
    "celllm": celllm,
    "scfoundation": _recorded("scfoundation"),
    "uce": uce,
    "transcriptformer": transcriptformer,
    "scconcept": scconcept,
    "sctrans": sctrans,
    "concerto": concerto,
    "cellplm": _recorded("cellplm", "?group=donor&cluster=expected"),
    "cell2sentence": cell2sentence,
    "tahoe": tahoe,
    "scprint": scprint,
    "native": native,
}
"""Writes a small folder of each system and gives what a user types for it."""


def address(name: str, folder: Path, goldens: Path | None) -> str:
    """What a user types for a small system, whose files are written to an empty folder."""
    return name if name in BUILT_IN else FOLDERS[name](folder, goldens)
