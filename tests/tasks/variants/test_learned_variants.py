"""A model that biolm trained, from its folder: it knows which residues were common."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

import biolm
from biolm.cli.main import app

RARE = "ACDEFGHIKMNPQRSTVWY"


def test_common_residues_score_higher_than_rare_ones(tmp_path: Path) -> None:
    pytest.importorskip("pytorch_lightning")
    draws = np.random.default_rng(0)
    texts = ["".join(np.where(draws.random(30) < 0.7, "L", draws.choice(list(RARE), 30))) for _ in range(200)]
    (tmp_path / "proteins.fasta").write_text("".join(f">p{n}\n{text}\n" for n, text in enumerate(texts)))
    settings: dict[str, Any] = {
        "data": {"paths": [str(tmp_path / "proteins.fasta")], "validation": 0.1, "batch_tokens": 1200},
        "model": {"adapter": "protein", "max_length": 40},
        "optimiser": {"lr": 0.01},
        "trainer": {"max_steps": 40, "accelerator": "cpu"},
    }
    settings["model"]["core"] = {"d_model": 16, "n_layers": 1, "n_heads": 2, "d_ff": 32}
    folder = biolm.pretrain(settings, tmp_path / "run").model
    (tmp_path / "wild.fasta").write_text(">wild\nLLWLLKLLDLLYLLLL\n")
    arguments = ["score-variants", str(tmp_path / "wild.fasta"), "-m", str(folder), "--quiet"]
    for method in ("masked-marginal", "pseudo-perplexity"):
        out = tmp_path / f"{method}.csv"
        more = ["-o", str(out), "--method", method, "--mutation", "L2W:L5D", "--mutation", "W3L:D9L"]
        result = CliRunner().invoke(app, [*arguments, *more])
        assert result.exit_code == 0, result.output
        worse, better = pd.read_csv(out).iloc[:, 1]
        assert worse < 0 < better
