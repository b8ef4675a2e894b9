"""Parameter accounting: GPT-3's textbook number, and exact totals against made models."""

from __future__ import annotations

import dataclasses

from biolm.core import CoreConfig, Transformer
from biolm.core.accounting import account

GPT3 = CoreConfig(
    vocab_size=50257, d_model=12288, n_layers=96, n_heads=96, d_ff=49152, max_length=2048, causal=True,
    head="linear",
)  # fmt: skip


def test_gpt3_as_textbooks_count_it() -> None:
    found = account(GPT3)
    assert found.matrices == 175_181_291_520
    roles = {row.role: row.parameters for row in found.rows}
    assert roles["query"] == 96 * 12288**2
    assert roles["unembedding"] == roles["token embedding"] == 50257 * 12288
    # Exact: the tied embedding once; positions, biases and norms on top.
    layer = 12 * 12288**2 + 12288 * (4 + 4 + 1 + 4)
    assert found.exact == 96 * layer + 50257 * 12288 + 2048 * 12288 + 2 * 12288


def test_exact_total_is_that_of_the_made_model() -> None:
    small = CoreConfig(
        vocab_size=31, d_model=16, n_layers=3, n_heads=4, d_ff=24, n_kv_heads=2, glu=True, head="mlm",
        head_bias=True, position="rope", qk_norm="head", n_segments=2, embed_norm=True,
    )  # fmt: skip
    for config in (
        small,
        dataclasses.replace(small, share_layers=True),
        dataclasses.replace(small, tied=False),
    ):
        found = account(config)
        assert found.exact == sum(p.numel() for p in Transformer(config).parameters())
        assert found.matrices == sum(row.parameters for row in found.rows)
        assert not any(row.role == "other" for row in found.rows)
