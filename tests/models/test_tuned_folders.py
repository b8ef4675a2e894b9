"""Fine-tuned folders of ``transformers``: the core is read, the classifier is left out, and it is said."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from parity import error

from biolm.batch import Batch
from biolm.errors import CheckpointError
from biolm.models.families.hf import from_hf

transformers = pytest.importorskip("transformers")

SIZES = {
    "vocab_size": 40, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
    "intermediate_size": 48, "max_position_embeddings": 64, "pad_token_id": 0, "num_labels": 2,
}  # fmt: skip
TUNED = [
    ("Bert", "SequenceClassification"),
    ("Bert", "TokenClassification"),
    ("Bert", "QuestionAnswering"),
    ("Roberta", "SequenceClassification"),
    ("Esm", "SequenceClassification"),
    ("ModernBert", "SequenceClassification"),
    ("Llama", "SequenceClassification"),
]


def tuned(family: str, task: str, folder: Path) -> Any:
    torch.manual_seed(0)
    more = {"bos_token_id": 1, "eos_token_id": 2, "cls_token_id": 1, "sep_token_id": 2, "mask_token_id": 4}
    config = getattr(transformers, f"{family}Config")(**SIZES, **more)
    model = getattr(transformers, f"{family}For{task}")(config).eval()
    model.save_pretrained(folder)
    return model


@pytest.mark.parametrize(("family", "task"), TUNED)
def test_the_core_gives_the_states_of_the_tuned_model(
    family: str, task: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    reference = tuned(family, task, tmp_path)
    caplog.set_level(logging.INFO, "biolm")
    core = from_hf(tmp_path)
    assert "the classifier is left out" in caplog.text
    ids = torch.randint(5, 40, (2, 9), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        wanted = reference(ids, attention_mask=torch.ones_like(ids), output_hidden_states=True)
        found = core(Batch.from_padded(ids, torch.ones_like(ids).bool()), logits=False)
    assert error(found.last_hidden_state, wanted.hidden_states[-1].flatten(0, 1)) < 1e-4


def test_what_is_not_of_a_classifier_is_still_refused(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    tuned("Bert", "SequenceClassification", tmp_path)
    path = tmp_path / "model.safetensors"
    save_file({**load_file(path), "surprise.weight": torch.ones(2)}, path)
    with pytest.raises(CheckpointError, match=r"no place for: surprise.weight"):
        from_hf(tmp_path)
