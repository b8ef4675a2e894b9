"""A process that reads mutants, one a line of its input, and says what came of each.

It may be ended from outside at any mutant, and ends itself where one takes too much of the processor; whoever
started it starts another.
"""

from __future__ import annotations

import faulthandler
import hashlib
import importlib
import json
import logging
import resource
import shutil
import signal
import sys
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from cases import Case
from mutants import mutate

from biolm.errors import BiolmError

CPU_SECONDS = 20.0
"""Time of the processor, not of the clock, that a mutant may take: a busy machine makes no hang."""
ROOM = 3 << 30
GROWTH = 1 << 29
"""Bytes of address space that a mutant may ask for beyond what is there, and of memory it may fill."""


def main() -> None:
    """Serve requests ``{"module", "case", "number"}``."""
    folder = Path(sys.argv[1])
    logging.disable(logging.CRITICAL)
    faulthandler.register(signal.SIGPROF, chain=True)
    pristine: dict[str, tuple[Case, Path, str]] = {}
    for line in sys.stdin:
        asked = json.loads(line)
        name = asked["case"]
        if name not in pristine:
            # Compiling and importing take memory and time of their own, so the whole file is read first.
            _allow(None)
            pristine[name] = _whole(folder, asked["module"], name)
        _allow(ROOM)
        answer = _tried(*pristine[name], folder / "mutants" / name, f"{name} {asked['number']}")
        print(json.dumps(answer), file=sys.__stdout__, flush=True)


def _whole(folder: Path, module: str, name: str) -> tuple[Case, Path, str]:
    """The case, its whole file, made once and kept, and what is read from it."""
    case: Case = importlib.import_module(module).CASES[name]
    made = folder / "whole" / name
    if not made.exists():
        shutil.rmtree(made.with_name(f"{name}.new"), ignore_errors=True)
        made.with_name(f"{name}.new").mkdir(parents=True)
        case.make(made.with_name(f"{name}.new") / case.file)
        made.with_name(f"{name}.new").rename(made)
    # Some readers clear up behind themselves.
    return case, made, _digest(_read(case, _copied(made, folder / "mutants" / name) / case.file))


def _copied(whole: Path, folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    return Path(shutil.copytree(whole, folder))


def _tried(case: Case, whole: Path, expected: str, folder: Path, seed: str) -> dict[str, str]:
    rng = np.random.default_rng(zlib.crc32(seed.encode()))
    done = mutate(_copied(whole, folder) / case.mutated, rng)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    outcome, said = _outcome(case, folder / case.file, expected)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) << 10
    if grown > GROWTH:
        outcome, said = "memory", f"grew by {grown >> 20} MiB"
    return {"outcome": outcome, "said": said, "done": done}


def _outcome(case: Case, path: Path, expected: str) -> tuple[str, str]:
    signal.setitimer(signal.ITIMER_PROF, CPU_SECONDS)
    try:
        found = _digest(_read(case, path))
    except BiolmError as error:
        said = " ".join(str(error).split())
        return ("refused" if said and len(said) < 2000 else "no sentence"), said
    except BaseException as error:  # what a user would be asked to report
        place = _place(error)
        return "unexpected", f"{type(error).__name__}: {' '.join(str(error).split())[:300]} ({place})"
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
    return ("same" if found == expected else "changed" if case.own else "other values"), ""


def _place(error: BaseException) -> str:
    """The last line of biolm that the error went through."""
    frames, trace = [], error.__traceback__
    while trace is not None:
        frames.append(f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}")
        trace = trace.tb_next
    ours = [frame for frame in frames if "/biolm/" in frame]
    return (ours or frames)[-1].rpartition("/biolm/")[2]


def _read(case: Case, path: Path) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return case.read(path)


def _allow(more: int | None) -> None:
    """Bound the address space at what is used now and some more; no bound for None."""
    limit = resource.RLIM_INFINITY
    if more is not None:
        limit = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize() + more
    resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))


def _digest(value: Any) -> str:
    """One number for arrays, texts and containers of them."""
    found = hashlib.sha256()
    waiting = [value]
    while waiting:
        node = waiting.pop()
        if isinstance(node, np.ndarray) and node.dtype.kind not in "OT":
            found.update(f"{node.dtype}{node.shape}".encode() + np.ascontiguousarray(node).tobytes())
        elif isinstance(node, dict):
            waiting += [part for pair in node.items() for part in pair]
        elif isinstance(node, list | tuple):
            found.update(f"{len(node)}".encode())
            waiting += node
        else:
            found.update(repr(node).encode("utf-8", "backslashreplace"))
    return found.hexdigest()


if __name__ == "__main__":
    main()
