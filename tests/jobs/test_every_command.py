"""Every command that writes: killed, on a full disk, beside a second one like it.

A short run looks at a few moments of every command, the long one (``make kills``) at 25 of each, and at all
where ``BIOLM_KILLS`` is ``all``.
"""

from __future__ import annotations

import os
import random
import re
import resource
import shutil
import signal
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest
from command_lines import COMMANDS, MAKERS, Command, invoke
from killing import State, at_change, chosen, read_state, watching, write_state

from biolm.cli import main
from biolm.io import atomic
from biolm.models.model import CellModel
from biolm.models.systems import cellfactors, genetext
from biolm.options import options_of
from biolm.tasks.demo import run as demo

pytest.importorskip("anndata")
pytest.importorskip("transformers")

ASKED = os.environ.get("BIOLM_KILLS", "")
ALL = bool(ASKED)
TRIED: Counter[str] = Counter()
MADE: dict[str, State] = {}
MOST = 1 if not ALL else None if ASKED == "all" else int(ASKED)
# What a run learns is the same; how fast it was is not.
UNFINISHED = re.compile(r".*\.partial|\..*\.(lock|(partial|ready|old)-.*)").fullmatch
VARIES = {"run/metrics.csv"}


@pytest.fixture(scope="module", autouse=True)
def one_model() -> Iterator[None]:
    """The built-in model is read once; the demo computes no scores, controls and UMAP, which take 20 s."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(genetext, "load", cache(genetext.load))
        patch.setattr(cellfactors, "load", cache(cellfactors.load))
        patch.setattr(demo.Baselines, "load", lambda _: controls_of(cellfactors.load()))
        patch.setattr(demo, "measure", lambda _, **__: ())
        patch.setattr(demo, "umap_layout", lambda points, **_: points[:, :2])
        yield


def controls_of(model: CellModel) -> demo.Baselines:
    """The model in place of its controls."""
    return demo.Baselines(model, model, model, (model,))


@pytest.fixture(scope="module", autouse=True)
def counts(request: pytest.FixtureRequest) -> Iterator[None]:
    """Say what was tried."""
    yield
    manager = request.config.pluginmanager.getplugin("capturemanager")
    with manager.global_and_fixture_disabled():
        print("\n" + ", ".join(f"{count} {name}" for name, count in sorted(TRIED.items())))


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of a command's inputs, made when the first one needs it."""

    @cache
    def make(number: int) -> Path:
        folder = tmp_path_factory.mktemp(f"inputs{number}")
        MAKERS[number][1](folder)
        return folder

    return lambda name: make(next(n for n, (group, _) in enumerate(MAKERS) if name in group))


@pytest.fixture(params=COMMANDS)
def name(request: pytest.FixtureRequest) -> str:
    """Of a command."""
    return str(request.param)


@pytest.fixture
def command(name: str) -> Command:
    """The command."""
    return COMMANDS[name]


@pytest.fixture
def place(inputs: Callable[[str], Path], name: str) -> Path:
    """Where its inputs lie."""
    return inputs(name)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """An empty folder to write to."""
    folder = tmp_path / "out"
    folder.mkdir()
    return folder


@pytest.fixture
def undisturbed(name: str, command: Command, place: Path, out: Path) -> State:
    """What the command writes when nothing happens to it; made once."""
    if name not in MADE:
        done = invoke(command.words(place, out))
        assert done.exit_code == 0, done.output
        MADE[name] = read_state(out)
        write_state({}, out)
    return MADE[name]


def steady(state: State) -> State:
    """A state without what differs between two runs."""
    return {path: None if path in VARIES else content for path, content in state.items()}


def named(state: State) -> State:
    """What lies under final names, without what a name says to be unfinished."""
    return {path: content for path, content in state.items() if not any(map(UNFINISHED, Path(path).parts))}


def left_out(name: str, command: Command, *, old: bool) -> None:
    """Skip what the short run leaves to the long one: each command writes a new output, or over an old."""
    if old and not command.overwrite:
        pytest.skip("has no --overwrite")
    if not ALL and command.overwrite and old is (len(name) % 2 == 0):
        pytest.skip("of the long run: make kills")


def slow(command: Command) -> None:
    """Skip what takes too long for the short run, which looks at deaths at a change of a file alone."""
    if command.slow and not ALL:
        pytest.skip("slow, so of the long run: make kills")


def spoiled(state: State, out: Path) -> State:
    """Lay down outputs that differ in every file, as if they were older; what they hold."""
    write_state({path: content and content + b"old" for path, content in state.items()}, out)
    return steady(read_state(out))


def faults_of(state: State, whole: State, before: State, output: str) -> list[str]:
    """What is wrong with a state that a kill left, before anything else is done."""
    held = named(steady(state))
    faults = [f"half of {p}" for p, v in held.items() if v not in (whole.get(p, b"-"), before.get(p, b"-"))]
    if not before or held in (before, whole):
        return faults
    # Between the names of an output of several files the first one is missing, and the new ones wait.
    waiting = [path for path in state if ".ready-" in path]
    if not waiting or all(path in held for path in before):
        faults.append(f"old and new mixed in {output}")
    return faults


def again(command: Command, place: Path, out: Path, whole: State, *more: str) -> list[str]:
    """What is wrong after the same command on what a kill left."""
    done = invoke(command.words(place, out, *more, *(["--resume"] if command.resume else [])))
    found = steady(read_state(out))
    faults = [f"other bytes in {path}" for path in whole if found.get(path, b"-") != whole[path]]
    faults += [f"left behind {path}" for path in found if path not in whole]
    # One that was killed in its last steps has its output, which is not replaced unasked.
    if done.exit_code and (faults or "exists already" not in done.output):
        faults.append(done.output.strip().rpartition("\n")[2])
    return faults


@pytest.mark.parametrize("old", [False, True], ids=["new", "over"])
def test_kills_at_changes_of_files(
    name: str, command: Command, place: Path, out: Path, undisturbed: State, *, old: bool
) -> None:
    left_out(name, command, old=old)
    more, before = (["--overwrite"], spoiled(undisturbed, out)) if old else ([], {})
    with watching(out, 1 if ALL else 25) as watch:
        done = invoke(command.words(place, out, *more))
    assert done.exit_code == 0, done.output
    whole = steady(read_state(out))
    faults = []
    half = {} if name == "pretrain" else whole
    for number in chosen(watch, MOST, random.Random(name)):
        TRIED["deaths at a change of a file"] += 1
        state = watch.states[number]
        found = faults_of(state, half, before, command.output) if half else []
        write_state(state, out)
        found += again(command, place, out, whole, *more)
        faults += [f"{number} before {watch.kinds[number]}: {each}" for each in found]
    assert faults == []


def test_kills_at_random_moments(
    name: str, command: Command, place: Path, out: Path, undisturbed: State
) -> None:
    slow(command)
    draws = random.Random(f"moment {name}")
    if not ALL and draws.random() > 0.12:
        pytest.skip("of the long run: make kills")
    whole = steady(undisturbed)
    began = time.monotonic()
    assert invoke(command.words(place, out)).exit_code == 0
    wall = time.monotonic() - began
    faults = []
    for _ in range(5 if ALL else 1):
        write_state({}, out)
        child = _fork(lambda: invoke(command.words(place, out)).exit_code)
        time.sleep(draws.uniform(0, 1.2 * wall))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        TRIED["deaths at a random moment"] += 1
        state = read_state(out)
        faults += [] if name == "pretrain" else faults_of(state, whole, {}, command.output)
        faults += again(command, place, out, whole)
    assert faults == []


@pytest.mark.parametrize("old", [False, True], ids=["new", "over"])
def test_a_full_disk(
    name: str, command: Command, place: Path, out: Path, undisturbed: State, *, old: bool
) -> None:
    slow(command)
    left_out(name, command, old=old)
    sizes = sorted(len(content) for content in undisturbed.values() if content)
    more, before = (["--overwrite"], spoiled(undisturbed, out)) if old else ([], {})
    limits = {random.Random(name).choice(sizes) // 2}
    if ALL:
        limits |= {0, sizes[0] - 1, sizes[-1] // 2, sizes[-1] - 1}
    for limit in sorted(limits):
        write_state(before, out)
        status, last = on_a_full_disk(limit, command.words(place, out, *more))
        TRIED["full disks"] += 1
        assert (status, "no space left on the disk" in last) == (1, True), (limit, last)
        assert steady(read_state(out)) == before


def test_an_old_output_is_refused_before_any_work(
    command: Command, place: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not when the work is done and is to be written, for which a lock is taken."""
    if not command.overwrite:
        pytest.skip("a run of pretrain goes on in its folder")
    # The folder of a demo may hold other things.
    old = Path("demo", "index.html") if command.output == "demo" else Path(command.output)
    (out / old).parent.mkdir(exist_ok=True)
    (out / old).write_text("old")
    held = read_state(out)
    monkeypatch.setattr(atomic, "claiming", lambda path: pytest.fail(f"{path} is to be written"))
    done = invoke(command.words(place, out))
    assert (done.exit_code, "exists already" in done.output) == (1, True), done.output
    assert read_state(out) == held


def test_two_writers(command: Command, place: Path, out: Path, undisturbed: State) -> None:
    slow(command)
    for change in (2, 4, 6) if ALL else (2,):
        write_state({}, out)
        with at_change(out, change, lambda: invoke(command.words(place, out)).exit_code) as first:
            held = read_state(out)
            second = invoke(command.words(place, out, *(["--resume"] if command.resume else [])))
            TRIED["second writers"] += 1
            last = second.output.strip().rpartition("\n")[2]
            told = ["another process works in"]
            if steady(undisturbed).items() <= steady(held).items():
                # The first one has all but its lock taken away.
                told.append("exists already")
            assert (second.exit_code, any(words in last for words in told)) == (1, True), second.output
            assert read_state(out) == held
        assert first.status == 0
        assert steady(read_state(out)) == steady(undisturbed)


def on_a_full_disk(limit: int, words: list[str]) -> tuple[int, str]:
    """Exit status and last line of a command for which no file may be larger than ``limit``.

    In a child, as HDF5 does not recover from a write that failed.
    """
    told, tell = os.pipe()

    def run() -> int:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
        done = invoke(words)
        os.write(tell, done.output.strip().rpartition("\n")[2].encode())
        return done.exit_code

    child = _fork(run)
    os.close(tell)
    with os.fdopen(told, "rb") as pipe:
        said = pipe.read().decode()
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), said


def _fork(run: Callable[[], int]) -> int:
    """Run something in a child; its number."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        child = os.fork()
    if child:
        return child
    status = 99
    try:
        status = run()
    finally:
        os._exit(status)


def test_every_command_that_writes_has_a_line() -> None:
    """All but ``fetch``, which writes what the hub sends into the hub's own cache."""
    named = {"output", "picture", "cloud"}
    writing = {word for word, module in main.COMMANDS.items() if named & set(options_of(module.Arguments))}
    lines = [each.line for each in COMMANDS.values()]
    given = {word for word in writing if any(line.startswith(f"{word} ") for line in lines)}
    assert len(writing) > 35
    assert writing - given == set()


def test_a_folder_that_is_gone_takes_nothing_with_it(tmp_path: Path) -> None:
    """What the copies rest on: a state that was written back is the state."""
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "c").write_text("text")
    state = read_state(tmp_path)
    shutil.rmtree(tmp_path / "a")
    write_state(state, tmp_path)
    assert read_state(tmp_path) == state
