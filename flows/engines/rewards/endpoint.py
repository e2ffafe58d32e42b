"""A classifier behind vLLM's `/classify`, asked for raw logits: `use_activation: false`, which the first request of a shard makes sure of.

    Endpoint("fsfairx", EndpointReward(engine="endpoint", model="sfairXC/FsfairX-LLaMA3-RM-v0.1", url="http://127.0.0.1:8001"))
    POST {"model": …, "messages": [user, assistant], "use_activation": false}    ->  {"data": [{"probs": [2.3071], "num_classes": 1}]}

Start the server with `vllm serve MODEL --runner pooling --convert classify`. vLLM squeezes a single logit through a sigmoid unless told not
to, and a server that does not know the setting would hand out numbers that look right: so one exchange is asked about both ways, and the
first number has to be the sigmoid of the second.
"""

import math
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from functools import cached_property
from typing import TYPE_CHECKING, Any

from prefloom.flows.engines.protocol import Reply, Request
from prefloom.flows.engines.rewards import scored
from prefloom.schemas.errors import InputError
from prefloom.schemas.ids import content_hash
from prefloom.schemas.rewards import EndpointReward
from prefloom.schemas.texts import short

if TYPE_CHECKING:
    from openai import OpenAI

_CLOSE = 0.01  # half-precision servers round


class Endpoint:
    """A reward model behind a server. Where it is served, and with which key, is not part of its identity."""

    free = True
    votes = 0

    def __init__(self, name: str, section: EndpointReward) -> None:
        self._name, self._section = name, section
        self.identity = f"classify/{section.model}@{content_hash([section.revision, section.template, section.max_tokens], size=6)}"
        self.in_flight = section.concurrency

    @cached_property
    def client(self) -> "OpenAI":
        """The client; InputError if there is no address, or no key where the recipe names one."""
        from openai import OpenAI

        section, where = self._section, f"rewards.{self._name}"
        if section.url is None:
            raise InputError("recipe", f"{where}.url", found="nothing", expected="where a server with /classify is")
        key = os.environ.get(section.key) if section.key else "none"
        if not key:
            raise InputError(f"{where}.key", found=f"no environment variable {section.key}", expected="one that holds the API key")
        return OpenAI(api_key=key, base_url=section.url, timeout=section.timeout, max_retries=section.attempts - 1)

    def answer(self, requests: Sequence[Request], stop: Callable[[], bool]) -> Iterator[list[tuple[int, Reply]]]:
        """Scores as the server gives them. What it refuses for one exchange is a failure of that one."""
        if requests:
            self._expect_raw(requests[0])
        size = self._section.concurrency
        with ThreadPoolExecutor(size) as pool:
            for start in range(0, len(requests), 4 * size):
                if stop():
                    return
                futures = {pool.submit(self._reply, request): start + i for i, request in enumerate(requests[start : start + 4 * size])}
                try:
                    for future in as_completed(futures):
                        yield [(futures[future], future.result())]
                finally:
                    for future in futures:
                        future.cancel()

    def _expect_raw(self, request: Request) -> None:
        """InputError unless the activated score is the sigmoid of the raw one."""
        raw, squeezed = self._reply(request), self._reply(request, activated=True)
        if raw.text is None or squeezed.text is None:
            return  # a failure of this exchange, which says nothing of the server
        value, other = float(raw.text), float(squeezed.text)
        if abs(1 / (1 + math.exp(-max(min(value, 500.0), -500.0))) - other) > _CLOSE:
            found = f"{value:g} without and {other:g} with an activation, which is no sigmoid of it"
            raise InputError(f"rewards.{self._name}", found=found, expected="a server whose /classify knows use_activation, and one output")

    def _reply(self, request: Request, activated: bool = False) -> Reply:
        from openai import APIConnectionError, APIStatusError, OpenAIError

        section, where = self._section, f"{self._section.url}/classify"
        body: dict[str, Any] = {"model": section.model, "use_activation": activated}
        if section.template == "chat":
            body["messages"] = [{"role": role, "content": content} for role, content in request.messages]
        else:
            body["input"] = "\n\n".join(content for _, content in request.messages)
        if section.max_tokens:
            body |= {"truncate_prompt_tokens": section.max_tokens, "truncation_side": "left"}
        try:
            found: Any = self.client.post("/classify", body=body, cast_to=object)
        except APIStatusError as error:
            if error.status_code in (401, 403, 404):
                message = f"status {error.status_code}: {short(self._hidden(str(error)))}"
                raise InputError(
                    where, found=message, expected="a vLLM server with this model: --runner pooling --convert classify"
                ) from None
            return Reply(error=f"HTTP {error.status_code}: {short(self._hidden(str(error)))}")
        except APIConnectionError as error:
            raise InputError(where, found=self._hidden(str(error)).lower(), expected=f"a server within {section.attempts} tries") from None
        except (OpenAIError, ValueError, TypeError) as error:
            return Reply(error=short(self._hidden(str(error))))
        try:
            (row,) = found["data"]
            (value,) = row["probs"]
            return scored(float(value), (found.get("usage") or {}).get("prompt_tokens"))
        except (KeyError, TypeError, ValueError):
            raise InputError(
                where, found=short(str(found)), expected="one row with one number in `probs`: a model with one output"
            ) from None

    def _hidden(self, message: str) -> str:
        """A server may repeat the key in what it says."""
        key = os.environ.get(self._section.key) if self._section.key else None
        return message.replace(key, "…") if key else message
