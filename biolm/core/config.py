"""The shape of a transformer: one frozen dataclass of orthogonal switches.

Every switch is needed by at least one published family (the comment names one), and the parity tests
flip each of them. There is never a class, nor a flag, for a combination.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal

from biolm.errors import ConfigError

__all__ = ["CoreConfig", "RopeScaling"]

Activation = Literal["gelu", "gelu_tanh", "relu", "silu", "identity"]
_CHOICES: dict[str, tuple[str, ...]] = {
    "value_encoder": ("none", "bins", "continuous", "patches"),
    "position": ("none", "learned", "sinusoid", "rope", "alibi", "t5"),
    "rope_rounding": ("none", "float16", "bfloat16"),
    "norm": ("layernorm", "rmsnorm"),
    "block": ("pre", "post", "sandwich", "parallel"),
    "qk_norm": ("none", "head", "each", "full"),
    "activation": ("gelu", "gelu_tanh", "relu", "silu", "identity"),
    "head_activation": ("gelu", "gelu_tanh", "relu", "silu"),
    "head": ("none", "linear", "mlm", "value"),
}
# Far above any model, and low enough that a damaged or hostile config is refused before anything is made.
_MOST = {
    "vocab_size": 1 << 28,
    "d_model": 1 << 20,
    "n_layers": 10_000,
    "n_heads": 1 << 16,
    "d_ff": 1 << 24,
    "max_length": 1 << 40,
    "head_dim": 1 << 20,
}


@dataclass(frozen=True, kw_only=True)
class RopeScaling:
    """How rotary frequencies are stretched to longer inputs.

    Parameters
    ----------
    kind
        ``linear`` (position interpolation, Chen et al. 2023), ``llama3`` (Llama 3.1: low frequencies
        divided, high ones kept) or ``yarn`` (Peng et al. 2023).
    factor
        How many times longer the input may be.
    original_length
        Length the model was trained at (``llama3``, ``yarn``).
    low_freq_factor, high_freq_factor
        Band limits of ``llama3``.
    beta_fast, beta_slow
        Rotations at ``original_length`` that bound the ramp of ``yarn``.
    attention_factor
        Multiplies cosine and sine; None for the ``yarn`` default ``0.1 ln(factor) + 1``.
    truncate
        Whether ``yarn`` rounds its ramp limits to whole dimensions.
    """

    kind: Literal["linear", "llama3", "yarn"]
    factor: float
    original_length: int = 8192
    low_freq_factor: float = 1.0
    high_freq_factor: float = 4.0
    beta_fast: float = 32.0
    beta_slow: float = 1.0
    attention_factor: float | None = None
    truncate: bool = True

    def __post_init__(self) -> None:
        if self.kind not in ("linear", "llama3", "yarn"):
            raise ConfigError(f"rope_scaling kind must be linear, llama3 or yarn, not {self.kind!r}")
        if self.factor < 1:
            raise ConfigError(f"rope_scaling factor must be at least 1, not {self.factor}")


@dataclass(frozen=True, kw_only=True)
class CoreConfig:
    """Shape and switches of a :class:`biolm.core.Transformer`.

    Raises
    ------
    ConfigError
        In the constructor, for an unknown choice, an impossible combination or sizes that do not fit;
        the message names the field and what is allowed.

    Examples
    --------
    >>> config = CoreConfig(vocab_size=33, d_model=64, n_layers=2, n_heads=4, d_ff=256, position="rope")
    >>> config.head_dim
    16
    """

    # Sizes
    vocab_size: int
    d_model: int
    n_layers: int
    n_heads: int
    d_ff: int
    n_kv_heads: int = 0  # 0: as many as heads. Fewer: grouped queries (Llama 3, Mistral)
    head_dim: int = 0  # 0: d_model / n_heads (Gemma, Qwen3 and T5 set it)
    max_length: int = 512

    # Input
    n_segments: int = 0  # token types (BERT)
    embed_dim: int = 0  # 0: d_model. Smaller: factorised embedding (ALBERT)
    project_tokens: bool = False  # a factorised embedding is projected before positions come in (OPT-350m)
    embed_norm: bool = False  # norm after the sum of embeddings (BERT, ModernBERT)
    embed_norm_bias: bool = True  # ModernBERT has none
    embed_scale: float = 1.0  # sqrt(d_model) in Gemma and BioGPT
    token_dropout: bool = False  # ESM: mask embeddings zeroed, the rest rescaled
    pad_id: int | None = None
    mask_id: int | None = None
    begin_ids: tuple[int, ...] | None = None  # tokens that a prompt may begin with (CTRL); None: any
    value_encoder: Literal["none", "bins", "continuous", "patches"] = "none"
    n_values: int = 0  # rows of the bin embedding, or numbers a patch holds

    # Positions
    position: Literal["none", "learned", "sinusoid", "rope", "alibi", "t5"] = "learned"
    position_offset: int = 0  # RoBERTa and ESM-1b count from pad_id + 1
    alibi_scaled: bool = False  # the bias is multiplied by attn_scale as the scores are (Falcon)
    rope_theta: float = 10_000.0
    rope_theta_local: float | None = None  # windowed layers (ModernBERT, Gemma 3)
    rope_dim: int = 0  # 0: head_dim. Smaller: partial rotation (GPT-J, GPT-NeoX)
    rope_interleaved: bool = False  # pairs (0, 1), (2, 3) … (GPT-J) instead of halves
    rope_scaling: RopeScaling | None = None
    rope_rounding: Literal["none", "float16", "bfloat16"] = "none"  # of the angles (published ESM-2 files)
    t5_buckets: int = 32  # T5: ranges of distances with a bias of their own
    t5_max_distance: int = 128  # T5: all larger ones share the last

    # Mask
    causal: bool = False
    window: int = 0  # 0: none. Causal: keys of the last `window` tokens, itself included; else on each side
    windowed_layers: tuple[int, ...] | None = None  # None: all layers, when there is a window

    # Norm and block
    norm: Literal["layernorm", "rmsnorm"] = "layernorm"
    norm_eps: float = 1e-5
    norm_eps_outside: bool = False  # RMSNorm adds it to the root, not under it (Evo 1 and 2)
    norm_bias: bool = True  # of LayerNorm; ModernBERT has none
    norm_plus_one: bool = False  # weight stored as w - 1 (Gemma)
    block: Literal["pre", "post", "sandwich", "parallel"] = "pre"
    shared_norm: bool = True  # a parallel block with one norm (GPT-J) or two (GPT-NeoX)
    first_attn_norm: bool = True  # ModernBERT has none before the first attention
    final_norm: bool = True
    final_norm_bias: bool = True  # ESM C: block norms have a bias, the final one none
    residual_scale: float = 1.0  # ESM C: each branch divided by sqrt(n_layers / 36)
    layer_scale: bool = False  # a learned factor for each channel of a branch (DINOv2)

    # Attention
    qkv_bias: bool = True
    out_bias: bool = True
    qk_norm: Literal["none", "head", "each", "full"] = "none"  # Gemma 3; weights by head: StableLM; ESM C
    attn_scale: float | None = None  # None: head_dim ** -0.5; T5 and GPT-Neo: 1
    attn_softcap: float | None = None  # Gemma 2
    cross_attention: bool = False  # a second attention, on another stream (T5 decoder)

    # Feed-forward
    glu: bool = False
    activation: Activation = "gelu"
    first_activation: Activation | None = None  # of the first layer alone (Evo 2: the only one that has any)
    mlp_bias: bool = True
    mlp_out_bias: bool = True

    # Head
    head: Literal["none", "linear", "mlm", "value"] = "none"
    head_activation: Activation = "gelu"
    head_dense_bias: bool = True  # ModernBERT has none
    head_bias: bool = False
    tied: bool = True
    logit_scale: float = 1.0  # T5: d_model ** -0.5 when tied
    logit_softcap: float | None = None  # Gemma 2

    # Training
    dropout_embed: float = 0.0
    dropout_attention: float = 0.0
    dropout_residual: float = 0.0
    share_layers: bool = False  # one block used n_layers times (ALBERT)

    # Token mixers
    mixer: str | tuple[str, ...] = "attention"  # by name; several: one a layer, or a pattern that repeats
    mixer_options: dict[str, dict[str, Any]] = field(default_factory=dict)  # by mixer, what it alone reads

    # Modules of other systems, by their name in biolm.core.parts
    embedder: str = ""  # in place of the sum of embeddings
    output: str = ""  # in place of a head
    norms: dict[str, str] = field(default_factory=dict)  # by place: "layers", or "final", after post-norm too
    part_options: dict[str, dict[str, Any]] = field(default_factory=dict)  # by part, what it alone reads

    def __post_init__(self) -> None:
        defaults = {"n_kv_heads": self.n_heads, "embed_dim": self.d_model}
        if self.n_heads:
            defaults["head_dim"] = self.d_model // self.n_heads
        for name, value in defaults.items():
            if not getattr(self, name):
                object.__setattr__(self, name, value)
        if not self.rope_dim:
            object.__setattr__(self, "rope_dim", self.head_dim)
        for name in ("windowed_layers", "begin_ids"):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, tuple(getattr(self, name)))
        if not isinstance(self.mixer, str):
            object.__setattr__(self, "mixer", tuple(self.mixer))
        if isinstance(self.rope_scaling, dict):
            object.__setattr__(self, "rope_scaling", RopeScaling(**self.rope_scaling))
        self._check_choices()
        self._check_sizes()
        self._check_combinations()
        self._check_mixers()
        self._check_parts()

    def _check_choices(self) -> None:
        first = {} if self.first_activation is None else {"first_activation": _CHOICES["activation"]}
        for name, allowed in (_CHOICES | first).items():
            value = getattr(self, name)
            if value not in allowed:
                raise ConfigError(f"{name} must be one of {', '.join(allowed)}, not {value!r}")

    def _check_sizes(self) -> None:
        for name, most in _MOST.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int):
                raise ConfigError(f"{name} must be a whole number, not {value!r}")
            if value < 1:
                raise ConfigError(f"{name} must be at least 1, not {value}")
            if value > most:
                raise ConfigError(f"{name} must be at most {most:,}, not {value:,}; check the config")
        for name in ("n_segments", "n_values"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _MOST["d_ff"]:
                raise ConfigError(f"{name} must be a whole number from 0 to {_MOST['d_ff']:,}, not {value!r}")
        if self.n_heads % self.n_kv_heads:
            raise ConfigError(
                f"n_kv_heads must divide n_heads: {self.n_kv_heads} does not divide {self.n_heads}"
            )
        # Only an implied head width must divide evenly; Gemma and Qwen3 choose theirs freely.
        if self.d_model % self.n_heads and self.head_dim == self.d_model // self.n_heads:
            raise ConfigError(
                f"d_model must be a multiple of n_heads, or head_dim given: {self.d_model} and {self.n_heads}"
            )
        for name in ("norm_eps", "rope_theta", "rope_theta_local", "attn_softcap", "logit_softcap"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise ConfigError(f"{name} must be over 0, not {value}")
        for name in ("dropout_embed", "dropout_attention", "dropout_residual"):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigError(f"{name} must lie in [0, 1), not {getattr(self, name)}")

    def _check_combinations(self) -> None:
        if self.position == "rope" and (self.rope_dim % 2 or self.rope_dim > self.head_dim):
            raise ConfigError(
                f"rope_dim must be even and at most head_dim {self.head_dim}, not {self.rope_dim}; "
                "rotary positions turn pairs of numbers"
            )
        for name in ("norm_plus_one", "norm_eps_outside"):
            if getattr(self, name) and self.norm != "rmsnorm":
                raise ConfigError(f"{name} needs norm='rmsnorm'")
        if self.windowed_layers is not None and not self.window:
            raise ConfigError("windowed_layers needs a window of at least 1 token")
        if self.window < 0 or any(not 0 <= i < self.n_layers for i in self.windowed_layers or ()):
            raise ConfigError(f"window must be 0 or more and windowed_layers lie in 0..{self.n_layers - 1}")
        if self.token_dropout and not 0 <= (-1 if self.mask_id is None else self.mask_id) < self.vocab_size:
            raise ConfigError("token_dropout needs mask_id, the token of the vocabulary that is dropped")
        for name in ("pad_id", "mask_id"):
            token = getattr(self, name)
            if token is not None and not 0 <= token < self.vocab_size:
                raise ConfigError(
                    f"{name} must be a token of the vocabulary, below {self.vocab_size}, not {token}"
                )
        exact = self.t5_buckets // (2 if self.causal else 4)
        if self.position == "t5" and not 1 <= exact < self.t5_max_distance:
            raise ConfigError(
                f"position='t5' needs t5_buckets of at least {2 if self.causal else 4} and t5_max_distance "
                f"over {exact}, not {self.t5_buckets} and {self.t5_max_distance}"
            )
        if self.value_encoder in ("bins", "patches") and self.n_values < 1:
            raise ConfigError(f"value_encoder={self.value_encoder!r} needs n_values of at least 1")
        differ = self.windowed_layers or not self.first_attn_norm or self.first_activation
        if self.share_layers and differ:
            raise ConfigError("share_layers uses one block for all layers, so layers cannot differ")
        if self.block == "sandwich" and (self.residual_scale != 1.0 or self.layer_scale):
            raise ConfigError(
                "block='sandwich' norms each branch, so residual_scale and layer_scale must be off"
            )
        if self.cross_attention and self.block in ("parallel", "sandwich"):
            raise ConfigError("cross_attention needs block='pre' or 'post'")
        factorised = self.embed_dim != self.d_model
        if self.tied and self.head == "linear" and factorised and not self.project_tokens:
            raise ConfigError(
                "a tied linear head needs embed_dim equal to d_model; use project_tokens=True, head='mlm' or "
                "tied=False"
            )
        if self.project_tokens and (not factorised or self.n_segments or self.value_encoder != "none"):
            raise ConfigError("project_tokens needs an embed_dim other than d_model, and reads ids alone")
        if self.alibi_scaled and self.position != "alibi":
            raise ConfigError("alibi_scaled needs position='alibi'")

    def _check_parts(self) -> None:
        for place in self.norms:
            if place not in ("layers", "final"):
                raise ConfigError(f"norms are named for the places layers and final, not {place!r}")
        if self.output and self.head != "none":
            raise ConfigError(
                f"output={self.output!r} takes the place of a head; leave head={self.head!r} out"
            )
        for name in self.part_options:
            if name not in (self.embedder, self.output, *self.norms.values()):
                raise ConfigError(f"part_options names {name!r}, but no part of this config is it")

    def _check_mixers(self) -> None:
        # Which mixers there are, and what each supports, biolm.core.mixers tells when a model is made.
        names = (self.mixer,) if isinstance(self.mixer, str) else self.mixer
        if not 1 <= len(names) <= self.n_layers:
            raise ConfigError(
                f"mixer must be one name, or 1 to {self.n_layers} names for {self.n_layers} layers, "
                f"not {len(names)}"
            )
        if self.share_layers and len(set(names)) > 1:
            raise ConfigError("share_layers uses one block for all layers, so mixers cannot differ")
        for name in self.mixer_options:
            if name not in names:
                raise ConfigError(f"mixer_options are given for {name!r}, but no layer has that mixer")

    def layer_mixer(self, layer: int) -> str:
        """Name of the mixer of one layer."""
        return self.mixer if isinstance(self.mixer, str) else self.mixer[layer % len(self.mixer)]

    def layer_window(self, layer: int) -> int:
        """Window of one layer, 0 where it sees everything."""
        if self.windowed_layers is None or layer in self.windowed_layers:
            return self.window
        return 0

    def as_dict(self) -> dict[str, Any]:
        """Plain values for ``config.json``."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> CoreConfig:
        """Read :meth:`as_dict` back.

        Raises
        ------
        ConfigError
            For a field that does not exist.
        """
        values = _with_parts(values)
        known = {field.name for field in fields(cls)}
        for name in values:
            if name not in known:
                raise ConfigError(f"the core config has no field {name!r}; known: {', '.join(sorted(known))}")
        return cls(**values)


def _with_parts(values: dict[str, Any]) -> dict[str, Any]:
    """Fields of earlier versions that belong to scGPT alone, as its part."""
    values = dict(values)
    norm, clip = values.pop("token_norm", False), values.pop("value_clip", None)
    if norm or clip is not None:
        values["embedder"] = "normed_values"
        values["part_options"] = {"normed_values": {"norm": norm, "clip": clip}}
    return values
