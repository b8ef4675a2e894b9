"""Attention maps of a text; genes and cells as texts."""

from __future__ import annotations

import numpy as np
import pytest

from biolm.errors import ConfigError, InputError
from biolm.text.attention import attention_of_text, draw_map, load_reader, write_page
from biolm.text.gene_text import cell_sentences, gene_vectors, read_gene_texts, write_gene_vectors

TEXT = "Find diseases associated with glucose"


def test_maps_are_those_of_transformers(minilm):
    transformers = pytest.importorskip("transformers")
    import torch

    core, tokenizer = load_reader(minilm)
    found = attention_of_text(core, tokenizer, TEXT)
    assert found.weights.shape[:2] == (6, 12)
    assert np.allclose(found.weights.sum(-1), 1, atol=1e-5)
    assert found.labels == ("[CLS]", "find", "diseases", "associated", "with", "glucose", "[SEP]")
    model = transformers.AutoModel.from_pretrained(minilm, attn_implementation="eager").eval()
    ids = torch.tensor([[tokenizer.number(label) for label in found.labels]])
    with torch.no_grad():
        maps = torch.stack(model(ids, output_attentions=True).attentions)[:, 0].numpy()
    assert np.allclose(maps, found.weights, atol=1e-5)


def test_pieces_merge_to_words(tiny):
    core, tokenizer = load_reader(tiny)
    pieces = attention_of_text(core, tokenizer, "aspirin causes ulcers")
    words = attention_of_text(core, tokenizer, "aspirin causes ulcers", words=True)
    assert pieces.labels == ("[CLS]", "aspirin", "causes", "ulcer", "##s", "[SEP]")
    assert words.labels == ("[CLS]", "aspirin", "causes", "ulcers", "[SEP]")
    assert np.allclose(words.weights.sum(-1), 1, atol=1e-5)
    a = pieces.weights
    assert np.allclose(words.weights[..., 1, 3], a[..., 1, 3] + a[..., 1, 4], atol=1e-6)
    assert np.allclose(words.weights[..., 3, 1], (a[..., 3, 1] + a[..., 4, 1]) / 2, atol=1e-6)


def test_maps_are_drawn_and_shown(tiny, tmp_path):
    core, tokenizer = load_reader(tiny)
    found = attention_of_text(core, tokenizer, "aspirin </script> causes ulcers", words=True)
    draw_map(found, tmp_path / "map.png", 0, 1)
    draw_map(found, tmp_path / "mean.svg", -1)
    assert (tmp_path / "map.png").stat().st_size > 3000
    write_page(found, tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert page.count("</script>") == 1
    assert "http" not in page.replace("<!DOCTYPE html>", "")
    with pytest.raises(ConfigError, match=r"layer must lie in 0\.\.1"):
        found.map(2)
    with pytest.raises(ConfigError, match="head must lie"):
        found.map(0, 5)


def test_a_cut_map_is_refused(tiny):
    core, tokenizer = load_reader(tiny)
    with pytest.raises(InputError, match="has 90 pieces, the model reads 62"):
        attention_of_text(core, tokenizer, "aspirin " * 90)
    with pytest.raises(InputError, match="no pieces"):
        attention_of_text(core, tokenizer, " ")


def test_gene_vectors_go_into_biolm_embed(tiny, tmp_path, repository):
    import biolm
    from biolm.text.embed import load_encoder

    table = tmp_path / "genes.tsv"
    names = ["CD3D", "CD8A", "MS4A1", "LYZ", "NKG7", "GNLY", "CD79A", "CD74"]
    table.write_text("".join(f"{name}\tgene {name} of gastric patients\n" for name in names) + "NOGENE\tx\n")
    genes, vectors = gene_vectors(read_gene_texts(table), load_encoder(tiny))
    assert vectors.shape == (8, 32)
    write_gene_vectors(genes, vectors, tmp_path / "table", {"encoder": "tiny"})
    cells = repository / "data" / "cells" / "pbmc68k_reduced_counts_700.h5ad"
    found = biolm.embed(cells, model=str(tmp_path / "table"), minimum_match=0.0)
    [key] = [name for name in found.obsm if name.startswith("X_") and found.obsm[name].shape[1] == 32]
    assert np.isfinite(np.asarray(found.obsm[key])).all()
    table.write_text("CD3D\n")
    with pytest.raises(InputError, match="line 1 has no text"):
        read_gene_texts(table)
    with pytest.raises(InputError, match="none of the genes is known"):
        gene_vectors({"XX": "x"}, load_encoder(tiny))


def test_sentences_hold_expressed_genes_alone():
    counts = np.array([[0, 5, 2, 0], [0, 0, 0, 0], [1, 1, 1, 1]])
    found = cell_sentences(counts, ["A", "B", "C", "D"], most=3)
    assert "A" not in found[0].replace("Top genes are", "")
    assert found[1] == ""
    assert found[2].count(",") == 2
