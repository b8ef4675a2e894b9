"""TERM ends a process that is stuck inside a library, and a reader that has seen enough gets no complaint."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

# A loop in C that never comes back, with Python's lock held.
STUCK = """
import sys
from biolm.cli.last_word import leave_for_sure
leave_for_sure(grace=1.0)
print("ready", flush=True)
sum(range(10**15))
"""
TIDY = """
import sys, time
from biolm.cli.last_word import leave_for_sure
end = leave_for_sure(grace=60.0)
print("ready", flush=True)
try:
    time.sleep(600)
finally:
    print("tidied", flush=True)
    end()
"""


def ended(program: str) -> tuple[int, str]:
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        time.sleep(0.2)
        process.send_signal(signal.SIGTERM)
        rest = process.stdout.read()
        return process.wait(timeout=120), rest


def test_a_stuck_process_is_ended() -> None:
    assert ended(STUCK)[0] == -signal.SIGKILL


def test_a_process_that_can_leaves_tidily() -> None:
    assert ended(TIDY) == (143, "tidied\n")


def test_a_reader_that_leaves_early_says_nothing(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "biolm", "models"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        said = process.stderr.read()
    assert (process.returncode, said) == (141, "")


def test_full_streams_change_no_exit_status(tmp_path: Path) -> None:
    for stream, failing, status in (("stderr", False, 0), ("stderr", True, 1), ("stdout", False, 1)):
        missing = [str(tmp_path / "none.h5ad"), "-o", str(tmp_path / "x.npy")]
        command = [sys.executable, "-m", "biolm", *(["embed", *missing] if failing else ["models"])]
        with open("/dev/full", "w") as full:  # noqa: PTH123  # a device
            streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, stream: full}
            done = subprocess.run(command, **streams, text=True, check=False)  # type: ignore[call-overload]
        assert done.returncode == status
        if stream == "stdout":
            assert done.stderr.startswith("Error: no space left for the standard output")
