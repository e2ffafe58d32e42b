"""Everything that is not a flood goes through the openai client, which defines the protocol: answers, probes, JSON.

raw = await complete(client, body)      ->  the bytes of a completion, or what wire.check raises; the client's own retries are off
"""

import asyncio
from typing import Any

import aiohttp
import openai

from prefloom.flows.engines.endpoint import wire
from prefloom.flows.engines.endpoint.flood import through_proxy

_NO_KEY = "none"  # the client wants one also where the server does not
_OWN = ("model", "messages")  # what the client names itself; the rest goes into the body as it is


def open_client(url: str, key: str | None, timeout: float) -> openai.AsyncOpenAI:
    """A client for one server. Needs a running loop."""
    # As in flood.py: no end to connections, since waiting for one would count as the server's time, and none is kept for long.
    limits = type(openai.DEFAULT_CONNECTION_LIMITS)(max_connections=0, keepalive_expiry=4.0)
    wait = openai.Timeout(timeout, connect=min(timeout / 2, 30))
    transport = openai.DefaultAioHttpClient(timeout=wait, limits=limits, follow_redirects=False, trust_env=through_proxy(url))
    return openai.AsyncOpenAI(base_url=url, api_key=key or _NO_KEY, max_retries=0, timeout=wait, http_client=transport)


async def complete(client: openai.AsyncOpenAI, body: dict[str, Any]) -> bytes:
    """Ask for a chat completion. Raises as flood.post does."""
    key = None if client.api_key == _NO_KEY else client.api_key
    rest = {name: value for name, value in body.items() if name not in _OWN}
    try:
        async with asyncio.timeout(getattr(client.timeout, "read", None)):  # of the whole call; the client's own is for each piece of it
            response = await client.chat.completions.with_raw_response.create(
                model=body["model"], messages=body["messages"], extra_body=rest
            )
    except (openai.APIConnectionError, UnicodeError) as error:
        raise _meaning(error) from None
    except openai.APIStatusError as error:
        headers = {name.lower(): value for name, value in error.response.headers.items()}
        wire.check(error.status_code, headers, error.response.content, key)
        raise wire.Transient(f"HTTP {error.status_code}") from None
    return wire.scrub(response.content, key)


def _meaning(error: BaseException) -> Exception:
    """What aiohttp said in the first place: on its way up a line that broke has become a time-out."""
    cause = error
    while not isinstance(cause, aiohttp.ClientError) and cause.__cause__ is not None:
        cause = cause.__cause__
    if isinstance(cause, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError):
        return wire.Unreachable(str(cause))
    if isinstance(cause, TimeoutError):
        return TimeoutError()
    return wire.Transient(f"the connection broke: {type(cause).__name__}")
