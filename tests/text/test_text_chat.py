"""The client against a small server that is slow, busy, down or mad; text of one's own model; cell names."""

from __future__ import annotations

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from biolm.core.sampling import SamplingOptions
from biolm.errors import CheckpointError, ConfigError, InputError, ServerError
from biolm.tasks.annotate.ontology import Ontology
from biolm.tasks.text.naming import NamingSettings, marker_prompt, name_cells, ontology_distance
from biolm.text.chat.client import ChatClient, ChatOptions


class Server(BaseHTTPRequestHandler):
    """Behaves as the path says."""

    seen: list = []  # noqa: RUF012  # of the test

    def log_message(self, *_):
        pass

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        how = self.path.split("/")[1]
        Server.seen.append((how, body, self.headers.get("Authorization")))
        busy = how == "busy" and sum(each[0] == how for each in Server.seen) < 3
        if busy or how == "always-busy":
            self.send_response(429)
            self.send_header("Retry-After", "7")
            self.end_headers()
            self.wfile.write(b"slow down")
            return
        if how == "refuses":
            self.send_response(400)
            self.end_headers()
            self.wfile.write(b"no such model")
            return
        if how == "slow":
            time.sleep(0.8)
        self.send_response(200)
        self.end_headers()
        answer = {"choices": [{"message": {"content": f"hello {body['messages'][-1]['content']}"}}]}
        if how == "nonsense":
            self.wfile.write(b"<html>no</html>")
        elif how == "empty":
            self.wfile.write(b'{"choices": []}')
        elif body["stream"]:
            for word in ("he", "llo"):
                piece = json.dumps({"choices": [{"delta": {"content": word}}]})
                self.wfile.write(f"data: {piece}\n\n".encode())
            if how != "breaks":
                self.wfile.write(b"data: [DONE]\n\n")
        else:
            self.wfile.write(json.dumps(answer).encode())


@pytest.fixture(scope="module")
def address():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def client(address, how, **rest):
    return ChatClient(f"{address}/{how}", "tiny", **rest)


def test_questions_answers_and_options(address, monkeypatch):
    monkeypatch.setenv("BIOLM_TEST_KEY", "secret")
    chat = client(address, "well", key_variable="BIOLM_TEST_KEY")
    options = ChatOptions(temperature=0.5, frequency_penalty=0.2, presence_penalty=0.1, stop=("\n",), seed=3)
    assert chat.ask("you", options) == "hello you"
    _, body, key = Server.seen[-1]
    assert key == "Bearer secret"
    assert (body["temperature"], body["frequency_penalty"], body["stop"], body["seed"]) == (
        0.5,
        0.2,
        ["\n"],
        3,
    )
    assert "top_p" not in body
    assert "secret" not in repr(chat)
    assert list(chat.stream([{"role": "user", "content": "x"}])) == ["he", "llo"]


def test_a_busy_server_is_asked_again(address):
    waits = []
    assert client(address, "busy", sleep=waits.append).ask("x") == "hello x"
    assert waits == [7.0, 7.0]
    with pytest.raises(ServerError, match="answered 429"):
        client(address, "always-busy", retries=1, sleep=waits.append).ask("x")
    client_waits = []
    with pytest.raises(ServerError):
        client(address, "always-busy", retries=1, longest_wait=2, sleep=client_waits.append).ask("x")
    assert client_waits == [2]


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("nonsense", "answered nonsense"),
        ("empty", "answered nonsense"),
        ("refuses", "answered 400 .*no such model"),
    ],
)
def test_what_a_server_may_do(address, how, message):
    with pytest.raises(ServerError, match=message):
        client(address, how).ask("x")


def test_a_slow_and_a_dead_server(address):
    with pytest.raises(ServerError, match="said nothing for"):
        client(address, "slow", timeout=0.1).ask("x")
    with pytest.raises(ServerError, match="cannot be reached"):
        ChatClient("http://127.0.0.1:9/v1", "x", timeout=2).ask("x")
    with pytest.raises(ServerError, match="broke off"):
        list(client(address, "breaks").stream("x"))


def test_addresses_and_keys_are_checked(monkeypatch):
    with pytest.raises(ConfigError, match="must begin with http"):
        ChatClient("file:///etc/passwd", "x")
    monkeypatch.delenv("NO_SUCH_KEY", raising=False)
    with pytest.raises(ConfigError, match="NO_SUCH_KEY"):
        ChatClient("http://127.0.0.1", "x", key_variable="NO_SUCH_KEY")


CELLS = Ontology(
    {"CL:0": "cell", "CL:1": "lymphocyte", "CL:2": "T cell", "CL:3": "CD4-positive T cell", "CL:4": "B cell"},
    {"CL:1": ("CL:0",), "CL:2": ("CL:1",), "CL:3": ("CL:2",), "CL:4": ("CL:1",)},
    {"T lymphocyte": "CL:2"},
)


def expert(prompt, number):
    """Knows T cells and admits what it does not know."""
    if "CD3D" in prompt and "CD3E" in prompt:
        name = ("T cells", "CD4-positive T cell", "T lymphocyte")[number % 3]
        return f"Cell type: {name}\nGenes: CD3D, CD3E"
    return "Cell type: unknown\nGenes:"


def test_names_are_agreed_on_at_any_depth():
    [found] = name_cells({"0": ["CD3D", "CD3E", "IL7R"]}, expert, CELLS).values()
    assert (found.name, found.confident, found.agreement, found.flags) == ("T cell", True, 1.0, ())
    [found] = name_cells({"1": ["GNLY", "NKG7"]}, expert, CELLS).values()
    assert (found.name, found.confident) == ("unknown", False)


def test_trap_19_names_at_another_depth_are_near():
    assert ontology_distance(CELLS, "CL:3", "CL:2") == 1
    assert ontology_distance(CELLS, "CL:3", "CL:4") == 3
    other = Ontology({"A": "a", "B": "b"}, {"B": ()})
    assert ontology_distance(other, "A", "B") is None


def test_a_model_that_names_everything_is_not_believed():
    def bluffs(prompt, number):
        genes = prompt.splitlines()[1].split(", ")
        return f"Cell type: T cell\nGenes: {genes[0]}"

    [found] = name_cells({"0": ["CD3D", "CD3E"]}, bluffs, CELLS).values()
    assert not found.confident
    assert found.name == "unknown"
    assert any("random gene lists too" in flag for flag in found.flags)


@pytest.mark.parametrize(
    ("answer", "flag"),
    [
        ("Cell type: hepatoblastoid\nGenes: CD3D", "not in the ontology: hepatoblastoid"),
        ("Cell type: T cell\nGenes: CD19", "cites genes that are not in the list: CD19"),
        ("Cell type: T cell\nGenes: FOOBAR9", "cites what is no gene: FOOBAR9"),
        ("Cell type: T cell\nGenes:", "no marker of the list is cited"),
        ("", "not in the ontology"),
    ],
)
def test_unsupported_answers_are_flagged(answer, flag):
    def says(prompt, number):
        return answer if "CD3D" in prompt else "Cell type: unknown"

    [found] = name_cells({"0": ["CD3D"]}, says, CELLS).values()
    assert not found.confident
    assert any(flag in each for each in found.flags)


def test_an_empty_list_is_refused():
    with pytest.raises(InputError, match="has no marker genes"):
        name_cells({"0": []}, expert, CELLS)
    with pytest.raises(ConfigError, match="at least twice"):
        NamingSettings(repeats=1)
    assert "of spleen" in marker_prompt(["A"], NamingSettings(tissue="spleen"))


def test_text_of_ones_own_model(tiny, tmp_path):
    import shutil

    import torch

    from biolm.core import CoreConfig, Transformer
    from biolm.models.families.hf import to_hf
    from biolm.text.chat.local import load_writer, write_text
    from biolm.text.pieces import load_pieces

    torch.manual_seed(0)
    size = load_pieces(tiny).size
    sizes = {"vocab_size": size, "d_model": 16, "n_layers": 1, "n_heads": 2, "d_ff": 16, "max_length": 64}
    core = Transformer(CoreConfig(**sizes, causal=True, head="linear", activation="gelu_tanh"))
    to_hf(core, tmp_path / "gpt", "gpt2")
    shutil.copy(tiny / "tokenizer.json", tmp_path / "gpt")
    writer, tokenizer = load_writer(tmp_path / "gpt")
    options = SamplingOptions(max_tokens=5, temperature=1.0, presence_penalty=50.0, seed=1)
    first = write_text(writer, tokenizer, ["aspirin causes", "the"], options)
    assert first == write_text(writer, tokenizer, ["aspirin causes", "the"], options)
    assert len(first) == 2
    with pytest.raises(InputError, match="a prompt has"):
        write_text(writer, tokenizer, ["aspirin " * 80])
    with pytest.raises(CheckpointError, match="no causal model"):
        load_writer(tiny)
