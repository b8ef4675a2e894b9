"""Causal convolutions over packed documents, in which no output sees another document.

Dimensions: ``t`` tokens of all documents end to end · ``b`` documents · ``c`` channels · ``g`` groups of
neighbouring channels with the same taps · ``k`` taps, the first of lag 0 · ``n`` blocks of ``m`` tokens ·
``s`` modes of a recurrence.

Three ways to the same sums, of which :func:`fir` and :func:`modal` take the fastest for the length at hand:
shifted sums for a few taps; products with a Toeplitz matrix for each block of tokens, joined by a recurrence
over blocks; and the FFT for filters as long as the document. All compute in float32.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from biolm.core.layout import Layout
from biolm.core.padded_rows import Stream

__all__ = ["Modes", "fft_convolve", "fir", "modal", "toeplitz"]

_FEW_TAPS = 16  # up to here shifted sums are faster than products of blocks
BLOCK = 64
# Up to so many tokens the FFT with a kept kernel is faster than blocks; measured on a CPU. It takes a call
# for each run of equally long documents, which cost more on a GPU.
_SHORT, _FEW_RUNS, _FEW_RUNS_GPU = 512, 64, 8


def fir(x: Tensor, taps: Tensor, layout: Layout, past: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
    """Filter every channel by a finite impulse response: ``y[i] = sum_j taps[j] x[i - j]``.

    Parameters
    ----------
    x
        ``(t, c)``.
    taps
        ``(g, k)``, the first of lag 0; each row serves ``c / g`` neighbouring channels.
    layout
        Document borders.
    past
        ``(b, c, k - 1)`` inputs before each document's first; zeros where there were none. None: no document
        goes on from earlier tokens.

    Returns
    -------
    ``(t, c)`` in the number type of ``x``, and the last ``k - 1`` inputs of each document, or None without
    ``past``.

    Examples
    --------
    >>> layout = Layout.of(torch.tensor([0, 2, 3]), torch.tensor([0, 1, 0]), 2)
    >>> x = torch.tensor([[1.0], [2.0], [5.0]])
    >>> fir(x, torch.tensor([[1.0, 10.0]]), layout)[0].flatten().tolist()  # the last one starts afresh
    [1.0, 12.0, 5.0]
    """
    length = taps.shape[1]
    wide, taps = x.float(), taps.float()
    if past is not None and layout.max_q == 1:
        window = torch.cat((past.float(), wide[:, :, None]), 2)  # (b, c, k)
        y = (window * _for_channels(taps.flip(1), x.shape[1])).sum(2)
        return y.to(x.dtype), window[:, :, 1:]
    few = length <= _FEW_TAPS
    size = 1 if few else BLOCK
    stream = Stream.of(layout, size, -(-(length - 1) // size) * size)
    rows = stream.spread(wide, past)
    y = _shifted(rows, _for_channels(taps, x.shape[1])) if few else _blocked(rows, taps, stream)
    return stream.gather(y).to(x.dtype), None if past is None else stream.last(rows, length - 1)


def _for_channels(taps: Tensor, channels: int) -> Tensor:
    return taps if len(taps) == channels else taps.repeat_interleave(channels // len(taps), 0)


def _shifted(rows: Tensor, taps: Tensor) -> Tensor:
    """Sum of shifted copies; the first ``k - 1`` rows are not filtered and hold zeros."""
    length = taps.shape[1]
    count = len(rows) - length + 1
    y = rows[length - 1 :] * taps[:, 0]
    for lag in range(1, length):
        y = torch.addcmul(y, rows[length - 1 - lag : length - 1 - lag + count], taps[:, lag])
    return F.pad(y, (0, 0, length - 1, 0))


def toeplitz(taps: Tensor, size: int, shift: int = 0) -> Tensor:
    """Matrices ``(g, m, m)`` that filter a block.

    Entry ``(i, j)`` is the tap of lag ``i - j + shift``, zero where there is none.

    Parameters
    ----------
    taps
        ``(g, l)``.
    size
        ``m``.
    shift
        Lag of the diagonal.

    Examples
    --------
    >>> toeplitz(torch.tensor([[1.0, 2.0]]), 3)[0].tolist()
    [[1.0, 0.0, 0.0], [2.0, 1.0, 0.0], [0.0, 2.0, 1.0]]
    """
    first, last = shift - size + 1, shift + size - 1
    kept = taps[:, max(first, 0) : last + 1]
    before = max(0, -first)
    padded = F.pad(kept, (before, 2 * size - 1 - before - kept.shape[1]))
    return padded.unfold(1, size, 1).flip(2)


def _blocked(rows: Tensor, taps: Tensor, stream: Stream) -> Tensor:
    """One matrix product a group and block for the block itself, and one for each block before it."""
    size, groups = stream.size, len(taps)
    blocks = rows.view(-1, size, groups, rows.shape[1] // groups).permute(2, 1, 0, 3)  # (g, m, n, c / g)
    flat = blocks.flatten(2)  # (g, m, n c / g)
    step = blocks.shape[3]
    y = torch.bmm(toeplitz(taps, size), flat)
    for back in range(1, stream.lead // size + 1):
        more = torch.bmm(toeplitz(taps, size, back * size), flat[:, :, : flat.shape[2] - back * step])
        y = y + F.pad(more, (back * step, 0))
    return y.view(groups, size, -1, step).permute(2, 1, 0, 3).reshape(len(rows), -1)


class Modes:
    """A recurrence ``s[i] = pole s[i - 1] + x[i]``, ``y[i] = sum of residue s[i]`` over modes, real part.

    Parameters
    ----------
    power
        Gives the poles to some powers, ``(c, s, e)``.
    residues
        ``(c, s)``; float32 or complex64, as the powers.
    kept
        Where tables of the poles are kept for later calls; None for nowhere, as in training.
    """

    def __init__(
        self, power: Callable[[Tensor], Tensor], residues: Tensor, kept: dict[str, Tensor] | None = None
    ) -> None:
        self.power, self.residues = power, residues
        self._kept = {} if kept is None else kept
        self.keeps = kept is not None

    def kernel(self, length: int) -> Tensor:
        """The impulse response, ``(c, length)`` float32."""
        name = f"kernel {length}"
        if name not in self._kept:
            # The power of lag 64 n + m is one of n times one of m: products instead of exponentials.
            size = min(BLOCK, length)
            within = self.powers(size + 1)[:, :, :size]  # (c, s, m)
            starts = torch.arange(0, length, size, device=self.residues.device)
            parts = []
            for some in torch.split(starts, 256):  # all together would be larger than the model
                between = self.residues[:, :, None] * self.power(some)  # (c, s, n)
                parts.append(_response(between, within.permute(2, 0, 1)).flatten(1))
            whole = torch.cat(parts, 1)[:, :length].float()
            if length > _SHORT:
                return whole
            self._kept[name] = whole
        return self._kept[name]

    def powers(self, count: int) -> Tensor:
        """Poles to the powers 0 to ``count - 1``, ``(c, s, count)``."""
        name = f"powers {count}"
        if name not in self._kept:
            self._kept[name] = self.power(torch.arange(count, device=self.residues.device))
        return self._kept[name]


def modal(
    x: Tensor, modes: Modes, layout: Layout, past: Tensor | None = None, *, method: str = "auto"
) -> tuple[Tensor, Tensor | None]:
    """Filter every channel by a sum of decaying modes, as long as the document.

    Parameters
    ----------
    x
        ``(t, c)``.
    modes
        Poles and residues.
    layout
        Document borders.
    past
        ``(b, c, s)`` states before each document's first token; None: no document goes on from earlier
        tokens.
    method
        ``blocks`` (Toeplitz products joined by the recurrence), ``fft``, or ``auto``.

    Returns
    -------
    ``(t, c)`` in the number type of ``x``, and the state after each document, or None without ``past``.
    """
    wide = x.float()
    if past is not None and layout.max_q == 1:
        state = modes.powers(2)[None, :, :, 1] * past + wide[:, :, None]
        return _real(modes.residues * state).sum(2).to(x.dtype), state
    if past is None and (method == "fft" or (method == "auto" and modes.keeps and _short(layout, x.is_cuda))):
        kernel = modes.kernel(max(_SHORT, layout.max_q))
        return fft_convolve(wide, kernel[:, : layout.max_q], layout).to(x.dtype), None
    y, state_after = _modal_blocks(wide, modes, layout, past)
    return y.to(x.dtype), state_after


def _short(layout: Layout, cuda: bool) -> bool:
    """Whether the FFT is the faster way for these documents."""
    if layout.max_q > _SHORT:
        return False
    if "runs" not in layout.cache:
        layout.cache["runs"] = sum(1 for _ in layout.groups())
    return bool(layout.cache["runs"] <= (_FEW_RUNS_GPU if cuda else _FEW_RUNS))


def _modal_blocks(
    x: Tensor, modes: Modes, layout: Layout, past: Tensor | None
) -> tuple[Tensor, Tensor | None]:
    size = min(BLOCK, max(layout.max_q, 1))
    stream = Stream.of(layout, size, 0)
    blocks = stream.spread(x).view(-1, size, x.shape[1]).permute(2, 1, 0)  # (c, m, n)
    y = torch.bmm(toeplitz(modes.kernel(size), size), blocks)
    if max(stream.counts, default=0) > 1 or past is not None:
        powers = modes.powers(size + 1)  # (c, s, m + 1)
        added = _left(powers[:, :, :size].flip(2), blocks)  # what each block adds to the state, (n, c, s)
        before = _scan(added, powers[:, :, size], stream, past)  # (n, c, s)
        response = modes.residues[:, :, None] * powers[:, :, 1:]  # (c, s, m)
        y = y + _response(response, before)
        if past is not None:
            past = _after(x, powers, before, stream, layout)
    return stream.gather(y.permute(2, 1, 0).reshape(-1, x.shape[1])), past


def _left(weights: Tensor, blocks: Tensor) -> Tensor:
    """``(c, s, m)`` times real ``(c, m, n)`` to ``(n, c, s)``."""
    if not weights.is_complex():
        return torch.bmm(weights, blocks).permute(2, 0, 1)
    real, imaginary = (torch.bmm(part, blocks) for part in (weights.real, weights.imag))
    return torch.complex(real, imaginary).permute(2, 0, 1)


def _response(weights: Tensor, states: Tensor) -> Tensor:
    """Real part of ``(c, s, m)`` times states ``(n, c, s)``, summed over modes: ``(c, m, n)``."""
    right = states.permute(1, 2, 0)  # (c, s, n)
    left = weights.transpose(1, 2)  # (c, m, s)
    if not weights.is_complex():
        return torch.bmm(left, right)
    return torch.bmm(left.real, right.real) - torch.bmm(left.imag, right.imag)


def _real(x: Tensor) -> Tensor:
    return x.real if x.is_complex() else x


def _scan(added: Tensor, decay: Tensor, stream: Stream, past: Tensor | None) -> Tensor:
    """State ``(n, c, s)`` before each block: one step for all documents that have such a block."""
    counts = stream.counts
    firsts = [first // stream.size for first in stream.firsts]
    state = added.new_zeros((len(counts), *added.shape[1:])) if past is None else past.to(added.dtype)
    if len(counts) == 1:
        steps = [state[0]]
        for number in range(counts[0] - 1):
            steps.append(torch.addcmul(added[number], decay, steps[-1]))
        return torch.stack(steps)
    parts, places = [], []
    alive = [number for number, count in enumerate(counts) if count]
    state = state[alive]
    for step in range(max(counts, default=0)):
        kept = [place for place, number in enumerate(alive) if counts[number] > step]
        if len(kept) < len(alive):
            alive = [alive[place] for place in kept]
            state = state[kept]
        own = [firsts[number] + step for number in alive]
        parts.append(state)
        places += own
        state = torch.addcmul(added[own], decay, state)
    order = torch.tensor(places, device=added.device).argsort()
    return torch.cat(parts)[order]


def _after(x: Tensor, powers: Tensor, before: Tensor, stream: Stream, layout: Layout) -> Tensor:
    """State ``(b, c, s)`` after the last token of each document, which may end inside a block."""
    states = []
    for number, (_, end, _, _) in enumerate(layout.spans):
        count = stream.counts[number]
        rest = stream.lengths[number] - (count - 1) * stream.size
        block = stream.firsts[number] // stream.size + count - 1
        weights = powers[:, :, :rest].flip(2)
        new = _left(weights, x[end - rest : end].t()[:, :, None])[0]
        states.append(torch.addcmul(new, powers[:, :, rest], before[block]))
    return torch.stack(states)


def fft_convolve(x: Tensor, kernel: Tensor, layout: Layout) -> Tensor:
    """Convolve every channel of each document with a filter as long as the document.

    Parameters
    ----------
    x
        ``(t, c)``.
    kernel
        ``(c, k)`` of at least the longest document's length, the first of lag 0.

    Returns
    -------
    ``(t, c)`` float32.
    """
    parts = []
    for documents, (start, end, _, _) in layout.groups():
        length = (end - start) // documents
        size = _fast_size(2 * length - 1)
        signal = x[start:end].float().view(documents, length, -1).transpose(1, 2)  # (b, c, length)
        spectrum = torch.fft.rfft(signal, n=size) * torch.fft.rfft(kernel[:, :length].float(), n=size)
        y = torch.fft.irfft(spectrum, n=size)[..., :length]
        parts.append(y.transpose(1, 2).flatten(0, 1))
    return torch.cat(parts) if parts else x.float()


def _fast_size(least: int) -> int:
    """Smallest number of at least ``least`` whose factors are 2, 3 and 5, which FFTs are fast at."""
    best = 1 << max(0, least - 1).bit_length()
    five = 1
    while five < best:
        three = five
        while three < best:
            two = three << max(0, -(-least // three) - 1).bit_length()
            best = min(best, two)
            three *= 3
        five *= 5
    return best
