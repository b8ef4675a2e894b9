"""Settings of a training run, and from a YAML file to them."""

from biolm.training.config.data import DataConfig, LabelConfig
from biolm.training.config.settings import (
    ModelConfig,
    OptimiserConfig,
    RunConfig,
    ScheduleConfig,
    TrainerConfig,
)

__all__ = [
    "DataConfig",
    "LabelConfig",
    "ModelConfig",
    "OptimiserConfig",
    "RunConfig",
    "ScheduleConfig",
    "TrainerConfig",
]
