"""Variant scores of Evo 2 as its authors define them: means over a window and both strands, no padding."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import biolm
from biolm.batch import Batch
from biolm.errors import ConfigError
from biolm.models.sequence_model import SequenceModel

PAIRS = str.maketrans("ACGT", "TGCA")


def _mean_score(model: SequenceModel, text: str) -> float:
    ids = torch.tensor([list(text.encode())])
    with torch.inference_mode():
        logits = model.core(Batch.from_padded(ids)).logits.double().log_softmax(-1)
    return float(logits[:-1].gather(1, ids[0, 1:, None]).mean())


@pytest.mark.parametrize("strands", ["both", "forward"])
def test_mean_scores_of_a_vcf(strands: str, goldens: Path, tmp_path: Path) -> None:
    model = biolm.load(goldens / "evo2")
    assert isinstance(model, SequenceModel)
    genome = "".join(np.random.default_rng(5).choice(list("ACGT"), 300))
    (tmp_path / "genome.fa").write_text(f">1\n{genome}\n")
    lines, wanted = ["##fileformat=VCFv4.2", "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO"], []
    for position, alternative in ((20, "A"), (150, "C"), (150, genome[149] + "GT"), (290, "T")):
        reference = genome[position - 1]
        lines.append(f"1\t{position}\t.\t{reference}\t{alternative}\t.\t.\t.")
        longest = max(len(reference), len(alternative))
        begin = max(0, min(position - 1 - (64 - longest) // 2, 300 - 64))
        changed = genome[: position - 1] + alternative + genome[position:]
        first = max(0, min(position - 1 - (64 - longest) // 2, len(changed) - 64))
        sides = [genome[begin : begin + 64], changed[first : first + 64]]
        values = []
        for text in sides:
            both = [text, text[::-1].translate(PAIRS)][: 2 if strands == "both" else 1]
            values.append(np.mean([_mean_score(model, each) for each in both]))
        wanted.append(values[1] - values[0])
    (tmp_path / "in.vcf").write_text("\n".join(lines) + "\n")
    found = biolm.score_variants(
        tmp_path / "in.vcf", model=model, reference=tmp_path / "genome.fa", window=64, average=True,
        strands=strands,
    )  # fmt: skip
    np.testing.assert_allclose(found.columns["biolm_llr"], wanted, rtol=1e-3, atol=2e-5)
    with pytest.raises(ConfigError, match="offers causal"):
        biolm.score_variants(
            tmp_path / "in.vcf", model=model, reference=tmp_path / "genome.fa", method="masked-marginal"
        )


def test_a_mean_means_nothing_for_marginals(tmp_path: Path) -> None:
    from small_models import small_model

    (tmp_path / "genome.fa").write_text(">1\n" + "ACGT" * 30 + "\n")
    (tmp_path / "in.vcf").write_text(
        "##fileformat=VCFv4.2\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n1\t5\t.\tA\tC\t.\t.\t.\n"
    )
    model = small_model("dna", max_length=40)
    with pytest.raises(ConfigError, match="average is over whole windows"):
        biolm.score_variants(
            tmp_path / "in.vcf", model=model, reference=tmp_path / "genome.fa", average=True, window=24
        )
