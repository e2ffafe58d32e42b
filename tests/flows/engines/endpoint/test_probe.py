"""What a probe finds out about a server, and what it says about one that cannot be asked."""

import os
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from prefloom.flows.engines.endpoint.engine import key_of
from prefloom.flows.engines.endpoint.loop import on_loop
from prefloom.flows.engines.endpoint.probe import Prober
from prefloom.schemas.errors import InputError
from prefloom.schemas.models import EndpointModel
from prefloom.schemas.probe import Probe
from prefloom.schemas.serving import Server
from tests.stand_in import StandIn

KEY = "sk-0123456789abcdef"


def probe(*urls: str, letters: tuple[str, ...] = ("A", "B"), key: str | None = None, **settings: Any) -> Probe:
    """A prober's report on these servers."""
    model = EndpointModel.model_validate({"engine": "endpoint", "model": "stand-in"} | settings)
    return on_loop(Prober("judge", model, urls, key, 5.0).probe(letters))


def test_a_vllm_server(stand_in_server: StandIn) -> None:
    found = probe(stand_in_server.url, revision="r1")
    assert found.template
    expected = Probe(
        model="stand-in",
        revision="r1",
        template=found.template,
        server="vllm",
        version="0.0.0+stand-in",
        max_model_len=32768,
        many=True,
        metered=True,
        read="logprob_token_ids",
        token_ids={"A": 65, "B": 66},
        mass=found.mass,
        constrained=True,
    )
    assert found == expected
    assert found.mass is not None
    assert 0.8 < found.mass <= 1
    assert probe(stand_in_server.url, letters=()).read is None


@pytest.mark.parametrize(
    ("reads", "vllm", "expected"), [("top", True, "top_logprobs"), ("ids", False, "top_logprobs"), ("none", True, "votes")]
)
def test_the_first_way_to_read_letters_that_works(stand_in_server: StandIn, reads: str, vllm: bool, expected: str) -> None:
    stand_in_server.set(reads=reads, vllm=vllm)
    assert probe(stand_in_server.url).read == expected


def test_a_way_that_is_demanded(stand_in_server: StandIn) -> None:
    assert probe(stand_in_server.url, read="votes").read == "votes"
    stand_in_server.set(reads="none")
    for way in ("logprob_token_ids", "top_logprobs"):
        with pytest.raises(
            InputError, match=rf"models\.judge\.read: found '{way}', which http.* does not support .* expected auto, or votes"
        ):
            probe(stand_in_server.url, read=way)
    stand_in_server.set(vllm=False)
    with pytest.raises(InputError, match="does not support"):
        probe(stand_in_server.url, read="logprob_token_ids")


def test_a_plain_server_tells_little_and_is_asked_all_the_same(stand_in_server: StandIn) -> None:
    stand_in_server.set(vllm=False, many=False, usage=False, json="ignored")
    found = probe(stand_in_server.url)
    assert (found.template, found.version, found.token_ids, found.max_model_len) == (None, None, None, None)
    assert (found.server, found.many, found.metered, found.constrained) == ("stand-in", False, False, False)
    assert found.switch == "reasoning_effort", "it takes an order not to think; whether it follows cannot be seen"
    assert (found.read, found.limit) == ("top_logprobs", "max_tokens")


def test_fields_that_a_server_refuses(stand_in_server: StandIn) -> None:
    stand_in_server.set(vllm=False, refuse=["reasoning_effort", "n", "response_format", "top_logprobs"])
    found = probe(stand_in_server.url)
    assert (found.switch, found.many, found.constrained, found.read) == (None, False, False, "votes")


def test_max_completion_tokens(stand_in_server: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    from prefloom.flows.engines.endpoint import client, wire

    complete = client.complete

    async def newer(one: Any, body: dict[str, Any]) -> bytes:
        if "max_tokens" in body:
            raise wire.Refused("HTTP 400: Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead.")
        return await complete(one, body)

    monkeypatch.setattr(client, "complete", newer)
    assert probe(stand_in_server.url).limit == "max_completion_tokens"


def test_thinking_is_switched_where_there_is_a_switch(stand_in_server: StandIn) -> None:
    stand_in_server.set(thinking=True)
    off, on = probe(stand_in_server.url), probe(stand_in_server.url, letters=(), thinking=True)
    assert off.switch == on.switch == "chat_template_kwargs"
    assert off.template != on.template
    assert off.mass is not None
    assert off.mass > 0.8, "a model that thinks first says no letter"
    stand_in_server.set()
    assert probe(stand_in_server.url).switch is None


def test_a_busy_and_faulty_server_gets_some_time(stand_in_server: StandIn) -> None:
    faults = ("429", "500", "drop", "torn", "html", "no-choices", "other-model")
    clean = probe(stand_in_server.url)
    stand_in_server.set(shares=dict.fromkeys(faults, 1 / len(faults)), bound=2, seed=5)
    assert probe(stand_in_server.url) == clean


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("html", "not JSON: <!doctype html>"),
        ("torn", "not JSON: "),
        ("drop", "the connection broke"),
        ("no-choices", "no completion: "),
        ("500", "HTTP 500: The server had an error"),
        ("429", "HTTP 429: Rate limit reached"),
        ("404", "HTTP 404: The model does not exist"),
    ],
)
def test_a_server_that_does_not_answer(stand_in_server: StandIn, monkeypatch: pytest.MonkeyPatch, fault: str, said: str) -> None:
    from prefloom.flows.engines.endpoint import probe as module

    monkeypatch.setattr(module, "_PAUSE", 0.001)
    monkeypatch.setattr(Prober.__init__, "__defaults__", (1.0,))  # its patience with a server that is busy
    stand_in_server.set(shares={fault: 1})
    with pytest.raises(InputError, match=rf"recipe: servers\.judge\.urls: found {said}") as end:
        probe(stand_in_server.url)
    assert "\n" not in str(end.value)


def test_a_server_that_goes_by_another_name(stand_in_server: StandIn) -> None:
    stand_in_server.set(shares={"other-model": 1})
    assert probe(stand_in_server.url).answers_as == "another-model"
    stand_in_server.set(shares={"other-model": 0.3}, bound=1, seed=2)
    assert probe(stand_in_server.url).answers_as is None


def test_a_wrong_name_lists_what_is_served(stand_in_server: StandIn) -> None:
    stand_in_server.set(models=["qwen-8b", "stand-in-large"])
    said = r"models\.judge\.model: found 'stand-in', which http.*/v1 does not serve; did you mean 'stand-in-large'\?"
    with pytest.raises(InputError, match=said):
        probe(stand_in_server.url)
    stand_in_server.set(models=["qwen-8b", "mistral"])
    with pytest.raises(InputError, match=r"does not serve; expected .*mistral.*qwen-8b|does not serve; expected .*qwen-8b.*mistral"):
        probe(stand_in_server.url)


def test_nobody_there(stand_in_server: StandIn) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        nobody = f"http://127.0.0.1:{free.getsockname()[1]}/v1"
    for urls in ((nobody,), (stand_in_server.url, nobody)):
        with pytest.raises(InputError, match=rf"servers\.judge\.urls: found {nobody}/models: .*; expected a server that runs there"):
            probe(*urls)


@pytest.fixture
def secret() -> Iterator[str]:
    os.environ["PREFLOOM_TEST_KEY"] = KEY
    yield "PREFLOOM_TEST_KEY"
    os.environ.pop("PREFLOOM_TEST_KEY", None)


def test_keys(stand_in_server: StandIn, secret: str) -> None:
    stand_in_server.set(key=KEY)
    assert probe(stand_in_server.url, key=KEY).read == "logprob_token_ids"
    for wrong in (None, "sk-wrong-and-secret"):
        with pytest.raises(InputError, match="HTTP 401: Incorrect API key provided") as end:
            probe(stand_in_server.url, key=wrong)
        assert "sk-wrong" not in str(end.value)
    del os.environ[secret]
    with pytest.raises(
        InputError, match=r"servers\.judge\.key: found \$PREFLOOM_TEST_KEY, which is not set; expected a variable that holds"
    ):
        key_of("judge", Server(urls=["http://127.0.0.1:1/v1"], key=secret))
