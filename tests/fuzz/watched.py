"""The process that reads mutants, started anew when one of them ends it."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["Tally", "Watched"]

PATIENCE = 600
"""Seconds of the clock after which a reader that sleeps, and so uses no processor, counts as hanging."""
FAULTS = ("unexpected", "changed", "hang", "died", "memory", "no sentence")


@dataclass
class Tally:
    """What came of the mutants of one reader.

    Parameters
    ----------
    name
        Of the reader.
    counts
        Mutants by outcome.
    faults
        What a person needs to see a fault again: outcome, number and kind of the mutant, what was said.
    """

    name: str
    counts: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        counts = ", ".join(f"{count} {what}" for what, count in sorted(self.counts.items()))
        return f"{self.name}: {self.counts.total()} mutants, {counts}"


class Watched:
    """A process that reads mutants.

    Parameters
    ----------
    folder
        Where whole files and mutants lie.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._process: subprocess.Popen[str] | None = None

    def tried(self, module: str, case: str, numbers: range) -> Tally:
        """The outcome of some mutants of a reader."""
        tally = Tally(case)
        for number in numbers:
            answer = self._ask(module, case, number)
            tally.counts[answer["outcome"]] += 1
            if answer["outcome"] in FAULTS:
                tally.faults.append(f"{answer['outcome']} {number} [{answer['done']}] {answer['said']}")
        return tally

    def _ask(self, module: str, case: str, number: int) -> dict[str, str]:
        process = self._process or self._start()
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps({"module": module, "case": case, "number": number}) + "\n")
        process.stdin.flush()
        ready, _, _ = select.select([process.stdout], [], [], PATIENCE)
        line = process.stdout.readline() if ready else ""
        if line:
            return dict(json.loads(line))
        self.close()
        said = (self.folder / "stderr").read_text(errors="replace")[-1500:]
        if process.returncode == 1:
            raise AssertionError(f"the whole file of {case} is not read, or no mutant can be made: {said}")
        hangs = not ready or process.returncode == -27  # SIGPROF, its allowance of the processor
        return {
            "outcome": "hang" if hangs else "died",
            "said": f"status {process.returncode}: {said}",
            "done": "",
        }

    def _start(self) -> subprocess.Popen[str]:
        here = Path(__file__).parent
        path = os.pathsep.join([str(here.parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])])
        with (self.folder / "stderr").open("w") as errors:
            self._process = subprocess.Popen(
                [sys.executable, str(here / "worker.py"), str(self.folder)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env={**os.environ, "PYTHONPATH": path},
            )
        return self._process

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None
