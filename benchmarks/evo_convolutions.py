"""Speed of Evo 2's parts on a CPU: the long filter, a whole layer, decoding, very long sequences.

    python benchmarks/evo_convolutions.py [--width 128] [--parts filter layer decode long]

``filter``: hyena LI by blocks and by FFT beside numpy's ``rfft`` of the same size (forward, product with the
filter's spectrum, back). ``layer``: one layer of each kind at 8,192 bases beside the same arithmetic written
plainly in torch (a depthwise ``conv1d``, FFTs of twice the length). ``decode``: tokens a second and bytes of
state after 1,024 to 32,768 bases. ``long``: microseconds a base from 10,000 to 1,000,000 bases read in parts.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from biolm.batch import Batch
from biolm.core import CoreConfig, Transformer
from biolm.core.convolve import Modes, modal
from biolm.core.layout import Layout

KINDS = ("hyena_short", "hyena_medium", "hyena_long")
MODAL = "hyena_modal"  # Evo 1's


def seconds(work: Callable[[], object], least: float = 0.3) -> float:
    """Process time of one call, the best of several."""
    work()
    best, spent = float("inf"), 0.0
    while spent < least:
        began = time.process_time()
        work()
        taken = time.process_time() - began
        best, spent = min(best, taken), spent + taken
    return best


def evo(width: int, mixers: tuple[str, ...], **changes: object) -> Transformer:
    """A core of Evo 2's form."""
    torch.manual_seed(0)
    options = {
        "hyena_short": {"groups": 16}, "hyena_medium": {"groups": 16}, MODAL: {"modes": 8, "split": "heads"},
    }  # fmt: skip
    fields = {
        "vocab_size": 512, "d_model": width, "n_layers": len(mixers), "n_heads": max(1, width // 64),
        "d_ff": width * 8 // 3 // 16 * 16, "max_length": 1 << 20, "position": "none", "causal": True,
        "norm": "rmsnorm", "norm_eps_outside": True, "glu": True, "mlp_bias": False, "mlp_out_bias": False,
        "activation": "identity", "first_activation": "gelu", "qkv_bias": False, "head": "linear",
        "mixer": mixers, "mixer_options": {n: o for n, o in options.items() if n in mixers},
    }  # fmt: skip
    return Transformer(CoreConfig(**{**fields, **changes})).eval()  # type: ignore[arg-type]


def time_filter(width: int) -> None:
    """The long filter, milliseconds by length."""
    rates = -torch.rand(width, 16)
    modes = Modes(lambda steps: torch.exp(rates[:, :, None] * steps), torch.randn(width, 16), {})
    print(f"\n| hyena LI, {width} channels | blocks | FFT | chosen | numpy rfft | rfft / chosen |")
    print("|---|---|---|---|---|---|")
    for documents, length in ((1, 64), (32, 64), (1, 256), (1, 1024), (1, 4096), (1, 16384)):
        total = documents * length
        x = torch.randn(total, width)
        layout = Layout.of(torch.arange(0, total + 1, length), torch.arange(length).repeat(documents), length)
        plain = x.view(documents, length, width).transpose(1, 2).contiguous().numpy()
        kernel = modes.kernel(length).numpy()

        def with_numpy(
            plain: np.ndarray = plain, kernel: np.ndarray = kernel, size: int = 2 * length
        ) -> object:
            return np.fft.irfft(np.fft.rfft(plain, size) * np.fft.rfft(kernel, size), size)

        times = [
            seconds(lambda how=how, x=x, layout=layout: modal(x, modes, layout, method=how))
            for how in ("blocks", "fft", "auto")
        ]
        times.append(seconds(with_numpy))
        cells = " | ".join(f"{1e3 * each:.2f} ms" for each in times)
        print(f"| {documents} x {length:,} bases | {cells} | {times[3] / times[2]:.2f} |")


def plain_layer(core: Transformer, kind: str, x: Tensor) -> Tensor:
    """The same layer, written plainly: a depthwise convolution, FFTs of twice the length."""
    block = core.layers[0]
    mixer = block.attention
    h = block.attn_norm(x)
    z = mixer.project(h).t()[None]
    taps = mixer.filter.taps[:, None]
    z = F.conv1d(F.pad(z, (taps.shape[2] - 1, 0)), taps, groups=len(taps))[0]
    if kind == MODAL:
        outer, gate, value = (p.flatten(0, 1) for p in z.view(mixer.filter.n_heads, 3, -1, len(x)).unbind(1))
    else:
        outer, gate, value = z.view(-1, 3, z.shape[1]).unbind(1)
    u, inner = gate * value, mixer.filter.inner
    if kind == "hyena_short":
        own = inner.taps.repeat_interleave(len(u) // len(inner.taps), 0)[:, None]
        y = F.conv1d(F.pad(u[None], (own.shape[2] - 1, 0)), own, groups=len(own))[0]
    else:
        length = u.shape[1]
        if kind == "hyena_medium":
            kernel = inner.taps.repeat_interleave(len(u) // len(inner.taps), 0)
        elif kind == MODAL:
            poles, residues = (torch.view_as_complex(part) for part in (inner.poles, inner.residues))
            parts = torch.split(torch.arange(length), 512)
            kernel = torch.cat(
                [(residues[:, :, None] * poles[:, :, None] ** part).sum(1).real for part in parts], 1
            )
        else:
            steps = torch.arange(length)
            kernel = torch.cat(
                [
                    (inner.residues[:, :, None] * torch.exp(inner.log_poles[:, :, None] * part)).sum(1)
                    for part in torch.split(steps, 512)
                ],
                1,
            )
        size = 2 * length
        y = torch.fft.irfft(torch.fft.rfft(u, size) * torch.fft.rfft(kernel, size), size)[:, :length]
        y = y + inner.skip[:, None] * u
    x = x + mixer.output((outer * y).t())
    return x + block.mlp(block.mlp_norm(x))  # type: ignore[no-any-return]


@torch.inference_mode()
def time_layer(width: int, length: int = 8192) -> None:
    """One layer of each kind, beside the plain one."""
    print(
        f"\n| one layer, width {width}, {length:,} bases | biolm | plain torch | ratio |\n|---|---|---|---|"
    )
    for kind in (*KINDS, MODAL):
        core = evo(width, (kind,))
        batch = Batch.from_padded(torch.randint(65, 85, (1, length)))
        x = core.embeddings(batch)
        context = core._contexts(batch, None, None)[0]
        ours = core.layers[0](x, context)
        error = float((plain_layer(core, kind, x) - ours).norm() / ours.norm())
        assert error < 1e-4, (kind, error)
        own = seconds(lambda core=core, x=x, context=context: core.layers[0](x, context))
        theirs = seconds(lambda core=core, kind=kind, x=x: plain_layer(core, kind, x))
        print(f"| {kind} | {1e3 * own:.0f} ms | {1e3 * theirs:.0f} ms | {own / theirs:.2f} |")


@torch.inference_mode()
def time_decode(width: int) -> None:
    """Tokens a second, and memory, after texts of several lengths."""
    print(f"\n| width {width}, six convolutional layers | tokens/s | state |\n|---|---|---|")
    core = evo(width, KINDS * 2)
    for length in (1024, 4096, 16384, 32768):
        cache = core.new_cache()
        core(cache.batch([0], [[65] * length]), logits=False, cache=cache)
        began = time.process_time()
        for _ in range(100):
            core(cache.batch([0], [[67]]), cache=cache)
        rate = 100 / (time.process_time() - began)
        print(f"| after {length:,} bases | {rate:.0f} | {cache.nbytes / 1024:.0f} KiB |")


@torch.inference_mode()
def time_long(width: int, piece: int = 16384) -> None:
    """Microseconds a base of very long sequences, read in parts."""
    print(f"\n| width {width}, three convolutional layers, parts of {piece:,} | µs a base |\n|---|---|")
    core = evo(width, KINDS)
    for length in (10_000, 100_000, 1_000_000):
        cache = core.new_cache()
        began = time.process_time()
        for start in range(0, length, piece):
            part = [65] * min(piece, length - start)
            core(cache.batch([0], [part]), logits=False, cache=cache)
        print(f"| {length:,} bases | {1e6 * (time.process_time() - began) / length:.2f} |")


def main() -> None:
    """Print one table for each part."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--parts", nargs="+", default=["filter", "layer", "decode", "long"])
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    parts = {"filter": time_filter, "layer": time_layer, "decode": time_decode, "long": time_long}
    for name in chosen.parts:
        parts[name](chosen.width if name != "long" else min(chosen.width, 32))


if __name__ == "__main__":
    main()
