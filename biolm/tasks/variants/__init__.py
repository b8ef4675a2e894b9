"""How likely a model of sequences finds variants of proteins and genomes.

>>> from biolm.tasks.variants import METHODS
>>> METHODS
('wt-marginal', 'masked-marginal', 'pseudo-perplexity', 'one-pass', 'causal')
"""

from __future__ import annotations

from biolm.tasks.variants.methods import METHODS
from biolm.tasks.variants.run import score_variants
from biolm.tasks.variants.settings import VariantScores, VariantSettings

__all__ = ["METHODS", "VariantScores", "VariantSettings", "score_variants"]
