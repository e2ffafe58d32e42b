"""Reward models as engines: the same score whatever stands beside a text, raw logits or nothing, failures as failures."""

import json
import math
import threading
from collections.abc import Callable, Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from prefloom.flows.engines.protocol import Reply
from prefloom.flows.engines.rewards import ask, identity, open_reward
from prefloom.schemas.errors import InputError
from prefloom.schemas.rewards import EndpointReward, ScorerReward, TransformersReward

EXCHANGES = [
    ("How?", "So."),
    ("Why?", "Because it is so, and it was always so."),
    ("Who?", "x" * 90),
    ("What?", "Nothing at all."),
    ("", ""),
]


def answers(engine: Any, exchanges: Sequence[tuple[str, str]], stop: Callable[[], bool] = lambda: False) -> list[Reply]:
    found = {place: reply for batch in engine.answer([ask(*exchange) for exchange in exchanges], stop) for place, reply in batch}
    return [found[place] for place in range(len(exchanges))]


def scores(engine: Any, exchanges: Sequence[tuple[str, str]]) -> list[float]:
    return [float(reply.text or "nan") for reply in answers(engine, exchanges)]


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("torch")
    from tests.flows.engines.small_classifier import make

    return make(tmp_path_factory.mktemp("reward") / "small")


def classifier(folder: Path, **changes: Any) -> Any:
    return open_reward("r", TransformersReward.model_validate({"engine": "transformers", "model": str(folder), "device": "cpu"} | changes))


def test_a_score_depends_on_nothing_that_stands_beside_the_text(small: Path) -> None:
    engine = classifier(small)
    together = scores(engine, EXCHANGES)
    assert together == [scores(engine, [one])[0] for one in EXCHANGES]  # a batch of 1
    assert together[::-1] == scores(engine, EXCHANGES[::-1])
    assert together == scores(engine, EXCHANGES * 16)[: len(EXCHANGES)]  # and of 16 of each
    assert len(set(together)) == len(together)
    assert all(round(score, 4) == score for score in together)


def test_a_score_is_the_raw_logit_of_the_end_of_the_exchange(small: Path) -> None:
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    model, tokenizer = AutoModelForSequenceClassification.from_pretrained(small).eval(), AutoTokenizer.from_pretrained(small)
    for longest in (4096, 16):
        for prompt, answer in EXCHANGES:
            ids = tokenizer(f"[user]{prompt}\n[assistant]{answer}\n")["input_ids"][-longest:]
            with torch.no_grad():
                logit = float(model(torch.tensor([ids])).logits[0, 0])
            assert scores(classifier(small, max_tokens=longest), [(prompt, answer)]) == [pytest.approx(logit, abs=2e-4)]
    assert scores(classifier(small, template="plain"), EXCHANGES[:2]) != scores(classifier(small), EXCHANGES[:2])


def test_an_identity_is_of_the_weights_and_of_what_is_done_with_them(small: Path, tmp_path: Path) -> None:
    from tests.flows.engines.small_classifier import make

    same, other = make(tmp_path / "small"), make(tmp_path / "other" / "small", chat=False)
    names = {classifier(folder, **changes).identity for folder, changes in ((small, {}), (small, {"max_tokens": 9}), (other, {}))}
    assert len(names) == 3
    assert classifier(same).identity == classifier(small).identity
    assert classifier(small, device=None).identity == classifier(small).identity
    pinned = TransformersReward(engine="transformers", model="nobody/has-it", revision="0123abc")
    assert "nobody/has-it" in str(identity("r", pinned))  # no weights are needed to plan
    with pytest.raises(InputError, match="template: plain"):
        answers(classifier(other), EXCHANGES[:1])


def test_a_model_with_two_outputs_is_no_reward_model(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    from tests.flows.engines.small_classifier import make

    with pytest.raises(InputError, match="2 outputs"):
        answers(classifier(make(tmp_path / "two", outputs=2)), EXCHANGES[:1])


def test_a_property_that_is_not_measured_is_named() -> None:
    with pytest.raises(InputError, match="warmth"):
        identity("r", ScorerReward(engine="scorer", property="warmht"))


class Server:
    """Answers `/classify` as vLLM does: the raw score of an exchange is a tenth of its length; `knows` the setting, or squeezes always."""

    def __init__(self) -> None:
        self.bodies: list[dict[str, Any]] = []
        self.knows, self.refuses = True, ""
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                outer.bodies.append(body | {"path": self.path})
                text = body.get("input") or "".join(one["content"] for one in body["messages"])
                raw = len(text) / 10 - 2
                squeezed = body["use_activation"] or not outer.knows
                row = {"index": 0, "label": "LABEL_0", "probs": [1 / (1 + math.exp(-raw)) if squeezed else raw], "num_classes": 1}
                refused = bool(outer.refuses) and outer.refuses in text
                reply = {"error": {"message": "too long"}} if refused else {"data": [row], "usage": {"prompt_tokens": len(text)}}
                data = json.dumps(reply).encode()
                self.send_response(400 if refused else 200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: object) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}"
        threading.Thread(target=self.http.serve_forever, daemon=True).start()


@pytest.fixture
def server() -> Iterator[Server]:
    found = Server()
    yield found
    found.http.shutdown()
    found.http.server_close()


def endpoint(server: Server, **changes: Any) -> Any:
    section = {"engine": "endpoint", "model": "judge/rm", "url": server.url, "attempts": 1} | changes
    return open_reward("rm", EndpointReward.model_validate(section))


def test_a_server_is_asked_for_raw_scores_of_the_whole_exchange(server: Server) -> None:
    exchanges = EXCHANGES[:4]
    assert scores(endpoint(server), exchanges) == [round(len(a + b) / 10 - 2, 4) for a, b in exchanges]
    first = server.bodies[0]
    assert (first["path"], first["model"], first["use_activation"]) == ("/classify", "judge/rm", False)
    assert first["messages"] == [{"role": "user", "content": "How?"}, {"role": "assistant", "content": "So."}]
    assert [body["use_activation"] for body in server.bodies].count(True) == 1  # the one that makes sure
    assert scores(endpoint(server, template="plain", max_tokens=64), exchanges[:1]) == [round(9 / 10 - 2, 4)]
    assert server.bodies[-1]["input"] == "How?\n\nSo."
    assert server.bodies[-1]["truncate_prompt_tokens"] == 64


def test_a_server_that_squeezes_its_scores_is_refused(server: Server) -> None:
    server.knows = False
    with pytest.raises(InputError, match="no sigmoid"):
        scores(endpoint(server), EXCHANGES[:2])


def test_what_a_server_refuses_is_a_failure_of_that_exchange(server: Server) -> None:
    server.refuses = "xxxx"
    found = answers(endpoint(server), EXCHANGES[:4])
    assert [reply.error is None for reply in found] == [True, True, False, True]
    assert "HTTP 400" in str(found[2].error)


def test_a_server_that_is_not_there_ends_the_stage(server: Server) -> None:
    with pytest.raises(InputError, match="a server within 1 tries"):
        answers(endpoint(server, url="http://127.0.0.1:9"), EXCHANGES[:1])
    with pytest.raises(InputError, match="where a server"):
        answers(endpoint(server, url=None), EXCHANGES[:1])
    with pytest.raises(InputError, match="no environment variable NO_SUCH_KEY"):
        answers(endpoint(server, key="NO_SUCH_KEY"), EXCHANGES[:1])
