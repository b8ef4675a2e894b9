"""Vectors of texts: pooling of the folder, windows, the nearest."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch

from biolm.errors import CheckpointError, ConfigError
from biolm.text.embed import embed_texts, length_report, load_encoder, nearest_texts


def test_minilm_is_pooled_as_its_folder_says(minilm):
    transformers = pytest.importorskip("transformers")
    encoder = load_encoder(minilm)
    assert (encoder.pool, encoder.normalise, encoder.longest) == ("mean", True, 256)
    texts = ["Glucose rises after meals.", "TNF-α"]
    found = embed_texts(encoder, texts, device="cpu")
    tokenizer = transformers.AutoTokenizer.from_pretrained(minilm)
    model = transformers.AutoModel.from_pretrained(minilm).eval()
    batch = tokenizer(texts, padding=True, return_tensors="pt")
    with torch.no_grad():
        states = model(**batch).last_hidden_state
    mask = batch["attention_mask"][..., None].float()
    mean = (states * mask).sum(1) / mask.sum(1)
    wanted = torch.nn.functional.normalize(mean, dim=1).numpy()
    assert np.allclose(found, wanted, atol=1e-4)


def test_trap_9_long_texts_are_read_whole(tiny):
    encoder = load_encoder(tiny)
    head = "patients had gastric ulcers " * 30
    texts = [head + "aspirin", head + "the the"]
    a, b = embed_texts(encoder, texts)
    assert length_report(encoder, [*texts, "aspirin"]).long == 2
    assert not np.allclose(a, b)
    [empty] = embed_texts(encoder, [""])
    assert not empty.any()


def test_a_vector_depends_on_its_text_alone(tiny):
    encoder = load_encoder(tiny)
    texts = ["aspirin causes ulcers", "the patients", "gastric"]
    together = embed_texts(encoder, texts)
    alone = np.concatenate([embed_texts(encoder, [text]) for text in texts])
    assert np.allclose(together, alone, atol=1e-5)
    first = load_encoder(tiny, pool="cls")
    assert not np.allclose(embed_texts(first, texts), together, atol=1e-3)
    with pytest.raises(ConfigError, match="pool must be"):
        load_encoder(tiny, pool="max")


def test_a_family_that_the_core_lacks_goes_through_transformers(tiny, tmp_path):
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.DistilBertConfig(vocab_size=200, dim=16, n_layers=1, n_heads=2, hidden_dim=16)
    transformers.DistilBertModel(config).save_pretrained(tmp_path)
    shutil.copy(tiny / "tokenizer.json", tmp_path)
    encoder = load_encoder(tmp_path)
    assert encoder.facts["engine"] == "transformers"
    together = embed_texts(encoder, ["aspirin", "the gastric ulcers"])
    assert np.allclose(together[1:], embed_texts(encoder, ["the gastric ulcers"]), atol=1e-5)


def test_unknown_pooling_is_refused(tiny, tmp_path):
    folder = tmp_path / "st"
    shutil.copytree(tiny, folder)
    (folder / "pool").mkdir()
    listed = [{"type": "sentence_transformers.models.Pooling", "path": "pool"}]
    (folder / "modules.json").write_text(json.dumps(listed))
    (folder / "pool" / "config.json").write_text('{"pooling_mode_max_tokens": true}')
    with pytest.raises(CheckpointError, match="pools by pooling_mode_max_tokens"):
        load_encoder(folder)


def test_nearest():
    rows, cosines = nearest_texts(np.array([[1.0, 0.0]]), np.array([[0.0, 1.0], [2.0, 0.0], [1.0, 1.0]]), k=2)
    assert rows.tolist() == [[1, 2]]
    assert cosines[0, 0] == pytest.approx(1)


@pytest.mark.parametrize("spoil", ["missing", "damaged"])
def test_a_folder_without_a_tokenizer_is_refused(tiny, tmp_path, spoil):
    folder = tmp_path / "model"
    shutil.copytree(tiny, folder)
    for path in folder.iterdir():
        if path.name in ("tokenizer.json", "tokenizer_config.json", "vocab.txt", "special_tokens_map.json"):
            path.unlink()
    if spoil == "damaged":
        (folder / "tokenizer.json").write_text('{"model": 3}')
    with pytest.raises(CheckpointError, match=r"tokenizer.*cop"):
        load_encoder(folder)
