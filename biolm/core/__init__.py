"""The transformer core: torch (and safetensors) alone.

Read in this order: config → embeddings → model → block → attention → kernels → heads → pooling; for
generation generate → sampling → cache → cache_steps → slabs → state; for other mixers than attention mixers.
"""

from biolm.core.config import CoreConfig, RopeScaling
from biolm.core.extend import extend_positions
from biolm.core.generate import Generation, generate, generate_each
from biolm.core.layout import Layout, Rule
from biolm.core.mixers import Mixer, register_mixer
from biolm.core.model import Transformer
from biolm.core.pooling import pool
from biolm.core.sampling import SamplingOptions

__all__ = [
    "CoreConfig",
    "Generation",
    "Layout",
    "Mixer",
    "RopeScaling",
    "Rule",
    "SamplingOptions",
    "Transformer",
    "extend_positions",
    "generate",
    "generate_each",
    "pool",
    "register_mixer",
]
