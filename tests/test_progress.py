from __future__ import annotations

import io
import sys

import pytest

from biolm.progress import progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def run(show: bool = True) -> None:
    with progress("embedding", 200, start=100, show=show) as advance:
        for _ in range(10):
            advance(10)


@pytest.mark.parametrize("colour", [True, False])
def test_a_terminal_sees_cells_speed_and_time_left(monkeypatch, colour):
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.delenv("NO_COLOR", raising=False)
    if not colour:
        monkeypatch.setenv("NO_COLOR", "1")
    run()
    text = screen.getvalue()
    assert "embedding" in text
    assert "200/200" in text
    assert "cells/s" in text
    assert "0:00:00" in text
    # 38 and 48 choose colours; NO_COLOR leaves cursor movement alone.
    assert ("\x1b[38;" in text) is colour


def test_a_log_gets_a_line_now_and_then(monkeypatch, caplog):
    clock = iter([0.0, 10.0, 61.0, 70.0, 130.0])
    monkeypatch.setattr("time.monotonic", lambda: next(clock))
    caplog.set_level("INFO", "biolm")
    with progress("embedding", 20_000, start=1_000) as advance:
        for _ in range(4):
            advance(1_220)
    assert caplog.messages == [
        "embedding: 3,440 of 20,000 cells, 40 cells/s, 7 min left",
        "embedding: 5,880 of 20,000 cells, 37.5 cells/s, 6 min left",
    ]


def test_nothing_is_drawn_elsewhere(monkeypatch, capsys):
    run()
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    run(show=False)
    assert screen.getvalue() == ""
    assert capsys.readouterr().err == ""
