"""What scores an answer to a prompt: one number, as the model gives it, rounded to four digits.

    engine = open_reward("skywork", TransformersReward(engine="transformers", model="Skywork/Skywork-Reward-V2-Qwen3-0.6B"))
    next(engine.answer([ask("How do I wrap …", "Lay the present …")], lambda: False))   ->  [(0, Reply(text="2.3071"))]

A reward model answers as any engine does, so that its scores go through the journal and are never paid for twice. Text scorers
(engines/scorers) and files need no engine.
"""

import math

from prefloom.flows.engines.protocol import Engine, Reply, Request
from prefloom.schemas.errors import InputError
from prefloom.schemas.rewards import EndpointReward, Reward, TransformersReward


def open_reward(name: str, section: TransformersReward | EndpointReward) -> Engine:
    """The engine behind a reward of the recipe. InputError if what it needs is not there."""
    if isinstance(section, TransformersReward):
        from prefloom.flows.engines.rewards.classifier import Classifier

        return Classifier(section)
    from prefloom.flows.engines.rewards.endpoint import Endpoint

    return Endpoint(name, section)


def identity(name: str, section: Reward) -> str | None:
    """Whatever could make the same answer get another score; None where the recipe itself says it all."""
    if isinstance(section, TransformersReward | EndpointReward):
        return open_reward(name, section).identity
    if section.engine == "scorer":
        from prefloom.flows.engines.scorers import PROPERTIES, revision
        from prefloom.schemas.errors import nearest

        if section.property not in PROPERTIES:
            raise InputError(
                "recipe", f"rewards.{name}.property", found=f"'{section.property}'", expected=nearest(section.property, PROPERTIES)
            )
        return f"scorer/{section.set}@{revision(section.set)}"
    return None


def ask(prompt: str, answer: str) -> Request:
    """What a reward model is asked: the exchange it has to score."""
    return Request((("user", prompt), ("assistant", answer)), max_tokens=0)


def scored(value: float, tokens: int | None = None) -> Reply:
    """A score as a reply, on the grid; not a number is a failure."""
    if not math.isfinite(value):
        return Reply(error=f"the score is {value}")
    return Reply(text=f"{value:.4f}", prompt_tokens=tokens, completion_tokens=None if tokens is None else 0)
