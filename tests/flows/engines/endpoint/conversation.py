"""An endpoint engine that talks to stand-ins, without a run, a journal or Prefect.

engine = endpoint(server, concurrency=8)          replies = answers(engine, questions(100))
"""

from collections.abc import Callable, Sequence
from typing import Any

from prefloom.flows.engines.endpoint.engine import Endpoint
from prefloom.flows.engines.protocol import Reply, Request
from prefloom.prompts import load
from prefloom.schemas.models import EndpointModel
from prefloom.schemas.probe import Probe
from prefloom.schemas.serving import Server
from tests.stand_in import StandIn

LETTERS = ("A", "B")
KNOWN = Probe(model="stand-in", read="logprob_token_ids", token_ids={"A": 65, "B": 66}, many=True, metered=True)


def endpoint(*servers: StandIn, probe: Probe = KNOWN, model: dict[str, Any] | None = None, **settings: Any) -> Endpoint:
    """An engine for these servers."""
    asked = EndpointModel.model_validate({"engine": "endpoint", "model": probe.model} | (model or {}))
    served = Server.model_validate({"urls": [server.url for server in servers], "timeout": 20} | settings)
    return Endpoint("judge", asked, served, probe, None)


def questions(count: int, groups: int = 10, tag: str = "", **fields: Any) -> list[Request]:
    """Readings of a judge, those of one comparison after each other."""
    made = []
    for i in range(count):
        place = i * groups // count
        pair = {"prompt": f"Tell me {tag}.", "first": f"one {place}", "second": f"two {place}"}
        messages = load("judge/pairwise").render(persona=f"Sailor {i}.", **pair)
        made.append(Request(messages, max_tokens=1, letters=LETTERS, group=f"{tag} {place}", **fields))
    return made


def tasks(count: int, samples: int, seed: int = 7) -> list[Request]:
    """What a writer is asked: several samples of each answer."""
    return [
        Request((("user", f"Write about {i}."),), max_tokens=60, temperature=1.0, seed=seed + j, group=str(i))
        for i in range(count)
        for j in range(samples)
    ]


def answers(engine: Endpoint, requests: Sequence[Request], stop: Callable[[], bool] = lambda: False) -> list[Reply | None]:
    """One reply per request, in order; None for one that was not given. Every index comes at most once."""
    found: list[Reply | None] = [None] * len(requests)
    try:
        for batch in engine.answer(requests, stop):
            for place, reply in batch:
                assert found[place] is None
                found[place] = reply
    finally:
        engine.close()
    return found


def texts(replies: Sequence[Reply | None]) -> list[str | None]:
    """What was said, where it was."""
    return [reply.text if reply and reply.error is None else None for reply in replies]
