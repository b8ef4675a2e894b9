"""What the processor does itself, of what the core chooses its ways by."""

from __future__ import annotations

from functools import cache

import torch

__all__ = ["multiplies_bfloat16"]

_INSTRUCTIONS = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")


@cache
def multiplies_bfloat16() -> bool:
    """Whether this CPU multiplies bfloat16 itself, and torch and oneDNN may use the instructions.

    Anywhere else bfloat16 is emulated, several times slower than float32. Both libraries can be told not to
    use them (``ATEN_CPU_CAPABILITY``, ``ONEDNN_MAX_CPU_ISA``).
    """
    if not torch.backends.cpu.get_cpu_capability().startswith("AVX512"):
        return False
    offered = any(getattr(torch.cpu, name, lambda: False)() for name in _INSTRUCTIONS)
    return offered and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
