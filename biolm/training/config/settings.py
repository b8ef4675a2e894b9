"""Settings of a training run: frozen dataclasses whose fields are the keys of the YAML."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from biolm.core.lora import LoraConfig
from biolm.core.pooling import POOLS
from biolm.errors import ConfigError
from biolm.training.config.data import DataConfig, LabelConfig, check_positive

__all__ = [
    "DataConfig",
    "LabelConfig",
    "ModelConfig",
    "OptimiserConfig",
    "RunConfig",
    "ScheduleConfig",
    "TrainerConfig",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """How cells become tokens, and the shape of the core.

    Parameters
    ----------
    adapter
        Of cells ``rank`` (Geneformer), ``bins`` (scGPT) or ``continuous``; of sequences ``protein``,
        ``dna`` (single bases), ``kmers``, ``bpe``, ``evo2`` (bases in either case) or ``text`` (bytes); not
        used with ``data.vocabulary``.
    tokenizer
        Further settings of the adapter, such as ``n_bins``; with ``start`` or ``data.vocabulary``, what is to
        be other than there, such as ``max_length``.
    max_length
        Most tokens of a cell; not used with ``start`` or ``data.vocabulary``.
    core
        Fields of :class:`biolm.core.CoreConfig`; the vocabulary's size is known from the data. With
        ``start`` only dropout rates.
    start
        Folder or name of a model to go on from, with its weights, vocabulary and tokeniser: one of
        ``biolm pretrain``, Geneformer or scGPT.
    lora
        Learn low-rank updates of the linear layers it names and leave the rest of the core as it is; they
        are added to the weights in the saved model.
    freeze
        What of the core is not learned: ``all`` (heads only, and no dropout below them), ``embeddings``, or
        a number of layers, the embeddings with them.
    init_std
        Deviation of the first weights.
    init_genes
        Table of gene vectors that the gene tokens' embeddings start from: ``genetext`` or a folder of that
        kind; see :func:`~biolm.training.run.initialise.start_genes`. Without it they are random.
    pool, hidden_state
        How the saved model makes a cell's vector; -1 is the last hidden state.
    """

    adapter: Literal["rank", "bins", "continuous", "protein", "dna", "kmers", "bpe", "evo2", "text"] = "rank"
    tokenizer: Mapping[str, Any] = field(default_factory=dict)
    max_length: int = 2048
    core: Mapping[str, Any] = field(default_factory=dict)
    start: str | None = None
    lora: LoraConfig | None = None
    freeze: str | int | None = None
    init_std: float = 0.02
    init_genes: str | None = None
    pool: str = "mean"
    hidden_state: int = -1

    def __post_init__(self) -> None:
        check_positive(self, "model", "max_length")
        if self.pool.removesuffix("_l2") not in POOLS:
            raise ConfigError(f"model.pool must be one of {', '.join(POOLS)}, not {self.pool!r}")
        if self.init_std <= 0:
            raise ConfigError(f"model.init_std must be over 0, not {self.init_std}")
        number = isinstance(self.freeze, int) and self.freeze >= 1
        if self.freeze not in (None, "all", "embeddings") and not number:
            raise ConfigError(
                f"model.freeze must be all, embeddings or a number of layers, not {self.freeze!r}"
            )
        if self.start is not None and self.init_genes is not None:
            raise ConfigError("model.start brings its own gene vectors; leave model.init_genes out")
        if self.lora is not None and self.freeze is not None:
            raise ConfigError("model.lora freezes the core already; leave model.freeze out")


@dataclass(frozen=True, slots=True, kw_only=True)
class OptimiserConfig:
    """AdamW (Loshchilov & Hutter 2019); norms, biases and embeddings are not decayed."""

    lr: float = 1e-3
    weight_decay: float = 0.01
    betas: tuple[float, ...] = (0.9, 0.999)
    eps: float = 1e-8

    def __post_init__(self) -> None:
        if self.lr <= 0 or self.eps <= 0 or self.weight_decay < 0:
            raise ConfigError("optimiser.lr and eps must be over 0, weight_decay 0 or more")
        if len(self.betas) != 2 or not all(0 <= beta < 1 for beta in self.betas):
            raise ConfigError("optimiser.betas must be two numbers in [0, 1)")


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleConfig:
    """Learning rate over the run.

    Parameters
    ----------
    kind
        After the warm-up: ``constant``, ``cosine``, ``linear``, or ``wsd`` (constant, then a linear end).
    warmup
        Steps over which the learning rate rises; a number below 1 is a fraction of all steps.
    end
        Fraction of the learning rate that is left at the last step.
    decay
        Of ``wsd``: fraction of all steps in its end.
    """

    kind: Literal["constant", "cosine", "linear", "wsd"] = "cosine"
    warmup: float = 0.05
    end: float = 0.1
    decay: float = 0.2

    def __post_init__(self) -> None:
        if self.warmup < 0 or not 0 <= self.end <= 1 or not 0 < self.decay <= 1:
            raise ConfigError("schedule needs warmup of 0 or more, end in [0, 1] and decay in (0, 1]")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainerConfig:
    """How long and on what.

    Parameters
    ----------
    max_epochs, max_steps
        The run ends at the earlier one; ``max_steps`` 0 for no limit.
    precision
        ``fp32``, ``bf16`` or ``fp16`` (mixed).
    clip
        Largest norm of the gradient; 0 for no clipping.
    accumulate
        Batches of one optimiser step, on each process.
    accelerator, devices, nodes
        ``auto``, ``cpu``, ``gpu``, as of Lightning's ``Trainer``; how many of them on each machine; how many
        machines.
    strategy
        Of several devices: ``ddp``, each with all weights, or ``fsdp``, each with a part of them (and of
        gradients and moments), for models that fit no device whole. ``auto`` is ``ddp`` there.
    validate_every, checkpoint_every
        Steps between validations and between checkpoints.
    patience
        Stop after that many validations without a lower loss; 0 never.
    save
        Which weights the saved model has: ``best`` those of the lowest validation loss, ``last`` those after
        the last step; ``auto`` the best where ``patience`` is set.
    keep
        Checkpoints that are kept.
    ema
        Decay of an exponential moving average of the weights, which is then what is saved and validated;
        0 for none. At the start it is at most ``(1 + step) / (10 + step)``, so that the first weights are
        soon forgotten.
    gradient_checkpointing
        Recompute layers in the backward pass to save memory.
    loggers
        ``csv`` (``metrics.csv``), ``tensorboard`` (a folder of that name), or both.
    log_every
        Steps between rows of training.
    peak_tflops
        Of a device at the run's precision, in 10¹² operations a second, for the fraction that is used (MFU);
        0 to look it up, or measure it on a CPU.
    """

    max_epochs: int = 1
    max_steps: int = 0
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    clip: float = 1.0
    accumulate: int = 1
    accelerator: str = "auto"
    devices: int = 1
    nodes: int = 1
    strategy: Literal["auto", "ddp", "ddp_find_unused_parameters_true", "fsdp"] = "auto"
    validate_every: int = 500
    checkpoint_every: int = 500
    patience: int = 0
    save: Literal["auto", "best", "last"] = "auto"
    keep: int = 2
    ema: float = 0.0
    gradient_checkpointing: bool = False
    loggers: tuple[Literal["csv", "tensorboard"], ...] = ("csv",)
    log_every: int = 10
    peak_tflops: float = 0.0

    def __post_init__(self) -> None:
        check_positive(
            self,
            "trainer",
            "max_epochs",
            "accumulate",
            "devices",
            "nodes",
            "validate_every",
            "checkpoint_every",
            "keep",
            "log_every",
        )
        if self.max_steps < 0 or self.patience < 0 or self.clip < 0 or self.peak_tflops < 0:
            raise ConfigError("trainer.max_steps, patience, clip and peak_tflops must be 0 or more")
        if self.accelerator not in ("auto", "cpu", "gpu", "cuda", "mps"):
            raise ConfigError(
                f"trainer.accelerator must be auto, cpu, gpu, cuda or mps, not {self.accelerator!r}"
            )
        if not 0 <= self.ema < 1:
            raise ConfigError(f"trainer.ema must lie in [0, 1), not {self.ema}")
        # The loss scale is looked at in whole gradients, which no process has under fsdp.
        if self.strategy == "fsdp" and self.precision == "fp16":
            raise ConfigError("trainer.strategy fsdp takes trainer.precision bf16 or fp32, not fp16")

    @property
    def processes(self) -> int:
        """Processes of the run, one a device."""
        return self.devices * self.nodes

    @property
    def keeps_best(self) -> bool:
        """Whether the saved model has the weights of the lowest validation loss."""
        return self.save == "best" or (self.save == "auto" and self.patience > 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunConfig:
    """A whole run.

    Parameters
    ----------
    data, model, optimiser, schedule, trainer
        Sections of the file.
    objectives
        Settings of each objective by its name; several are added up by their ``weight``.
    seed
        Seeds weights, order, held-out examples, masks and dropout.
    name
        Names the saved model.
    """

    data: DataConfig
    model: ModelConfig = field(default_factory=ModelConfig)
    objectives: Mapping[str, Mapping[str, Any]] = field(default_factory=lambda: {"masked_tokens": {}})
    optimiser: OptimiserConfig = field(default_factory=OptimiserConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    seed: int = 0
    name: str = "biolm-model"

    def __post_init__(self) -> None:
        if not self.objectives:
            raise ConfigError("objectives must name at least one objective, such as masked_tokens")
        if not 0 <= self.seed < 2**63:
            raise ConfigError(f"seed must be 0 or more and below 2**63, not {self.seed}")
        # The name becomes a key in obsm, where a slash opens a group.
        if not self.name.strip() or "/" in self.name or "\\" in self.name:
            raise ConfigError(
                f"name must be a word without a slash, as keys of h5ad files are, not {self.name!r}"
            )
        # Both are chosen by the held-out loss.
        if not self.data.validation and (self.trainer.patience or self.trainer.save == "best"):
            raise ConfigError("trainer.patience and save: best need held-out examples; set data.validation")

    def as_dict(self) -> dict[str, Any]:
        """Plain values, as the YAML holds them."""
        values: dict[str, Any] = _plain(asdict(self))
        return values


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        # YAML has lists; a tuple would be written with a tag that safe readers refuse.
        return [_plain(entry) for entry in value]
    return value
