"""The transformer core: torch (and safetensors) alone.

Read in this order: config → embeddings → model → block → attention → kernels → heads → pooling.
"""

from biolm.core.config import CoreConfig, RopeScaling
from biolm.core.layout import Layout, Rule
from biolm.core.mixers import register_mixer
from biolm.core.model import Transformer
from biolm.core.pooling import pool

__all__ = ["CoreConfig", "Layout", "RopeScaling", "Rule", "Transformer", "pool", "register_mixer"]
