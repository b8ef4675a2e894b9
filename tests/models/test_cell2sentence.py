"""Cell2Sentence: prompts, vectors as transformers gives them, cell types, rankings, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import small_systems
import torch
from perturb import relative

import biolm
from biolm.errors import CheckpointError, ConfigError
from biolm.io.cells import open_cells
from biolm.models.systems.cell2sentence import gene_ranking


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("c2s")
    small_systems.cell2sentence(place)
    return place


def test_prompts_and_vectors(folder: Path, shipped_cells: Path) -> None:
    from transformers import GPTNeoXForCausalLM

    model = biolm.load(f"cell2sentence?model={folder}&genes=30")
    with open_cells(shipped_cells / "pbmc68k_reduced_counts_700.h5ad") as source:
        match = model.vocabulary.match(source.gene_columns())
        block = next(source.blocks(4))
    prompts = model.preprocessor.tokenizer.prompts(block, match)
    sentence = prompts[0].split("Cell sentence: ")[1].split(".\n")[0].split(" ")
    assert len(sentence) == 30
    assert "in a Homo sapiens cell" in prompts[0]
    names = dict(zip(model.vocabulary.genes, model.preprocessor.tokenizer.names, strict=True))
    span = slice(block.indptr[0], block.indptr[1])
    counts: dict[str, float] = {}
    for column, value in zip(block.indices[span], block.data[span], strict=True):
        if match.target[column] >= 0:
            name = names[model.vocabulary.genes[match.target[column]]].upper()
            counts[name] = counts.get(name, 0) + float(value)
    ranks = [counts[name] for name in sentence]
    assert ranks == sorted(counts.values(), reverse=True)[:30]
    tokens = model.tokenize(block, match)
    reference = GPTNeoXForCausalLM.from_pretrained(folder).eval()
    found = biolm.embed(shipped_cells / "pbmc68k_reduced_counts_700.h5ad", model=model, device="cpu")
    for cell in range(4):
        with torch.inference_mode():
            ids = torch.from_numpy(tokens[cell].ids).long()[None]
            states = reference(ids, output_hidden_states=True).hidden_states[-1][0]
        vector = torch.from_numpy(found.obsm["X_cell2sentence"][cell])
        assert relative(vector, states.mean(0)) < 2e-5
    answers = model.cell_types(block, match, most=4)
    with torch.inference_mode():
        made = reference.generate(
            torch.from_numpy(tokens[0].ids).long()[None], max_new_tokens=4, do_sample=False
        )
    text = model.preprocessor.tokenizer.decode(made[0, len(tokens[0].ids) :].tolist())
    assert answers[0] == text.split(".")[0].strip()


def test_rankings_of_what_was_written() -> None:
    assert gene_ranking("cd3d IL7R cd3d x", ["CD3D", "IL7R"]) == (["CD3D", "IL7R"], 1)
    assert gene_ranking("", ["CD3D"]) == ([], 0)


def test_refusals(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"name its folder \(-m 'cell2sentence\?model=FOLDER'\)"):
        biolm.load("cell2sentence")
    with pytest.raises(ConfigError, match="species must be one of human, mouse"):
        biolm.load(f"cell2sentence?model={folder}&species=fly")
    with pytest.raises(ConfigError, match="whole number"):
        biolm.load(f"cell2sentence?model={folder}&genes=0")
    with pytest.raises(CheckpointError, match=r"no tokenizer\.json"):
        biolm.load(f"cell2sentence?model={tmp_path}")
