"""Puts the demo's scores into README.md: ``python .ci/readme.py README.md demo/scores.json``."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

START, END = "<!-- scores: written by make readme -->", "<!-- end of scores -->"


def table(scores: dict[str, object]) -> str:
    """Markdown tables of every question, the model in bold."""
    lines: list[str] = []
    for question in scores["questions"]:
        lines += [
            f"**{question['title']}**",
            "",
            "| | macro-F1 | 95 % interval | accuracy |",
            "| --- | --- | --- | --- |",
        ]
        for score in question["scores"]:
            name = f"**{score['name']}**" if score["name"] == scores["model"] else score["name"]
            low, high = f"{score['low']:.3f}", f"{score['high']:.3f}"
            lines.append(f"| {name} | {score['macro_f1']:.3f} | {low} to {high} | {score['accuracy']:.3f} |")
        lines += [f"| {name} | cannot be computed | | |" for name in question["impossible"]]
        lines.append("")
    return "\n".join(lines)


def main(readme: Path, scores: Path) -> None:
    """Replace what stands between the two marks."""
    text = readme.read_text(encoding="utf-8")
    block = f"{START}\n\n{table(json.loads(scores.read_text(encoding='utf-8')))}\n{END}"
    new, count = re.subn(f"{re.escape(START)}.*{re.escape(END)}", lambda _: block, text, flags=re.DOTALL)
    if count != 1:
        raise SystemExit(f"{readme} does not hold the marks {START} and {END} once")
    readme.write_text(new, encoding="utf-8")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
