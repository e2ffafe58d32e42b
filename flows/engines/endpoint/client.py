"""Everything that is not a flood goes through the openai client, which defines the protocol: answers, probes, JSON.

raw = await complete(client, body)      ->  the bytes of a completion, or what wire.check raises; the client's own retries are off
"""

from typing import Any

import openai

from prefloom.flows.engines.endpoint import wire

_OWN = ("model", "messages")  # what the client names itself; the rest goes into the body as it is


def open_client(url: str, key: str | None, timeout: float) -> openai.AsyncOpenAI:
    """A client for one server. Needs a running loop."""
    transport = openai.DefaultAioHttpClient(timeout=timeout)
    return openai.AsyncOpenAI(base_url=url, api_key=key or "none", max_retries=0, timeout=timeout, http_client=transport)


async def complete(client: openai.AsyncOpenAI, body: dict[str, Any]) -> bytes:
    """Ask for a chat completion. Raises as flood.post does."""
    rest = {name: value for name, value in body.items() if name not in _OWN}
    try:
        response = await client.chat.completions.with_raw_response.create(model=body["model"], messages=body["messages"], extra_body=rest)
    except openai.APITimeoutError:
        raise TimeoutError from None
    except openai.APIConnectionError as error:
        cause = error.__cause__
        if type(cause).__name__ == "ConnectError":
            raise wire.Unreachable(str(cause)) from None
        raise wire.Transient(f"the connection broke: {type(cause or error).__name__}") from None
    except openai.APIStatusError as error:
        wire.check(error.status_code, {name.lower(): value for name, value in error.response.headers.items()}, error.response.content)
        raise wire.Transient(f"HTTP {error.status_code}") from None
    return response.content
