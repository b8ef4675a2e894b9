"""Folders of models: configs, vocabularies, tokenizers, weights, gene dictionaries; training configs."""

from __future__ import annotations

import json
import pickle
import shutil
from argparse import Namespace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from cases import SHARED, Case

from biolm.core import CoreConfig, Transformer
from biolm.io.safe_pickle import read_gene_dictionary
from biolm.models.families.esm_original import read_original
from biolm.models.families.hf import from_hf, to_hf
from biolm.models.registry import load, load_tokenizer
from biolm.text.pieces import load_pieces
from biolm.training.config.read import read_config

__all__ = ["CASES"]

REPOSITORY = Path(__file__).resolve().parents[2]
GENES = [f"ENSG{number:011d}" for number in range(20)]
CONFIG = """data:
  paths: [cells.h5ad]
  batch_tokens: 4096
model:
  max_length: 64
trainer:
  max_steps: 10
"""


def bert(path: Path) -> None:
    torch.manual_seed(0)
    config = CoreConfig(
        vocab_size=22, d_model=16, n_layers=2, n_heads=2, d_ff=32, max_length=32, n_segments=2,
        norm_eps=1e-12, embed_norm=True, block="post", pad_id=0,
    )  # fmt: skip
    to_hf(Transformer(config), path, "bert")


def state(model: Any) -> Any:
    return {name: tensor.detach().float().numpy() for name, tensor in model.state_dict().items()}


def read_bert(path: Path) -> Any:
    model = from_hf(path)
    return repr(model.config), state(model)


def geneformer(path: Path) -> None:
    bert(path)
    tokens = {name: number for number, name in enumerate(["<pad>", "<mask>", *GENES])}
    (path / "token_dictionary.json").write_text(json.dumps(tokens))
    (path / "gene_median_dictionary.json").write_text(json.dumps(dict.fromkeys(GENES, 1.5)))


def read_tokenizer(path: Path) -> Any:
    found = load_tokenizer(path)
    return found.vocabulary.genes, np.asarray(found.tokenizer.token_ids), found.special


def read_model(path: Path) -> Any:
    model = load(path)
    return model.vocabulary.genes, state(getattr(model, "core", model))


def native(path: Path) -> None:
    shutil.copytree(REPOSITORY / "data/cell-mini", path)
    for name in ("README.md", "make_cell_mini.py"):
        (path / name).unlink()


def scgpt(path: Path) -> None:
    path.mkdir()
    for file in (SHARED / "goldens/scgpt/checkpoint").iterdir():
        (path / file.name).write_bytes(file.read_bytes())


def esm(path: Path) -> None:
    """An ESM-1b of two layers, as fair-esm stores it."""
    torch.manual_seed(0)
    wide, top = 8, "encoder.sentence_encoder."
    shapes = {"embed_tokens.weight": (33, wide), "embed_positions.weight": (36, wide)}
    for name in ("emb_layer_norm_before", "emb_layer_norm_after"):
        shapes |= {f"{name}.weight": (wide,), f"{name}.bias": (wide,)}
    for layer in range(2):
        for part in ("self_attn.k_proj", "self_attn.v_proj", "self_attn.q_proj", "self_attn.out_proj"):
            shapes |= {f"layers.{layer}.{part}.weight": (wide, wide), f"layers.{layer}.{part}.bias": (wide,)}
        for part in ("self_attn_layer_norm", "final_layer_norm"):
            shapes |= {f"layers.{layer}.{part}.weight": (wide,), f"layers.{layer}.{part}.bias": (wide,)}
        shapes |= {f"layers.{layer}.fc1.weight": (16, wide), f"layers.{layer}.fc1.bias": (16,)}
        shapes |= {f"layers.{layer}.fc2.weight": (wide, 16), f"layers.{layer}.fc2.bias": (wide,)}
    tensors = {top + name: torch.randn(shape) for name, shape in shapes.items()}
    head = {
        "dense.weight": (wide, wide),
        "dense.bias": (wide,),
        "layer_norm.weight": (wide,),
        "layer_norm.bias": (wide,),
    }
    tensors |= {f"encoder.lm_head.{name}": torch.randn(shape) for name, shape in head.items()}
    tensors |= {
        "encoder.lm_head.weight": tensors[top + "embed_tokens.weight"],
        "encoder.lm_head.bias": torch.zeros(33),
    }
    args = Namespace(encoder_attention_heads=2, token_dropout=True)
    torch.save({"model": tensors, "args": args}, path)


def read_esm(path: Path) -> Any:
    model, regression = read_original(path)
    return repr(model.config), state(model), regression


def pickled(path: Path) -> None:
    path.write_bytes(
        pickle.dumps({name: np.float64(number) for number, name in enumerate(GENES)}, protocol=4)
    )


def pieces(path: Path) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers

    bert(path)
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "aspirin", "ulcer", "##s", "a"]
    made = Tokenizer(models.WordPiece({word: n for n, word in enumerate(words)}, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.save(str(path / "tokenizer.json"))


def read_pieces(path: Path) -> Any:
    load_pieces.cache_clear()
    found = load_pieces(path)
    return repr(found.engine.encode("aspirin ulcers a").ids), found.longest


def config(path: Path) -> None:
    path.write_text(CONFIG)


CASES = {
    "config.json": Case(file="x", part="x/config.json", make=bert, read=read_bert),
    "safetensors": Case(file="x", part="x/model.safetensors", make=bert, read=read_bert),
    "Geneformer dictionaries": Case(file="x", make=geneformer, read=read_tokenizer),
    "Geneformer": Case(file="x", make=geneformer, read=read_model),
    "gene pickle": Case(file="x.pkl", make=pickled, read=read_gene_dictionary),
    "vocab.json": Case(file="x", part="x/vocab.json", make=native, read=read_tokenizer),
    "model of biolm": Case(file="x", make=native, read=read_model),
    "ESM original": Case(file="x.pt", make=esm, read=read_esm),
    "tokenizer.json": Case(file="x", part="x/tokenizer.json", make=pieces, read=read_pieces),
    "training config": Case(file="x.yaml", make=config, read=lambda path: repr(read_config(path))),
}
if SHARED.is_dir():
    CASES["scGPT"] = Case(file="x", make=scgpt, read=read_model)
    CASES["scGPT vocab.json"] = Case(file="x", part="x/vocab.json", make=scgpt, read=read_tokenizer)
