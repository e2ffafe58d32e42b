"""One-token reads come in floods, so they go straight over aiohttp: a tenth of the openai client's work for each call.

raw = await post(session, "http://127.0.0.1:8000/v1/chat/completions", body)      ->  the bytes of a completion, or what wire.check raises
"""

from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies

import aiohttp
import orjson

from prefloom.flows.engines.endpoint import wire

LARGEST = 64 * 2**20  # bytes of a reply; a server that sends more is not answering


def through_proxy(url: str) -> bool:
    """Whether a proxy that the environment names stands between: never before this machine itself."""
    host = urlsplit(url).hostname or ""
    return bool(getproxies()) and not (host == "localhost" or host.startswith("127.") or host == "::1")


def open_session(url: str, key: str | None, timeout: float) -> aiohttp.ClientSession:
    """A pool of connections that are kept; how many there are is the business of whoever sends. Needs a running loop."""
    headers = {"Content-Type": "application/json", "Accept-Encoding": "identity"} | ({"Authorization": f"Bearer {key}"} if key else {})
    # vLLM closes a connection after five idle seconds; one that is closed while we send on it costs a repeated call.
    limits = aiohttp.ClientTimeout(total=timeout, sock_connect=min(timeout / 2, 30))
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=4),
        headers=headers,
        timeout=limits,
        trust_env=through_proxy(url),
        auto_decompress=False,  # nothing compressed was asked for, and a small body may hide a large one
    )


async def post(
    session: aiohttp.ClientSession, url: str, body: dict[str, Any], headers: dict[str, str] | None = None, key: str | None = None
) -> bytes:
    """Send one call. Besides what wire.check raises: Unreachable if nobody listens, Transient for one that breaks, TimeoutError."""
    try:
        async with session.post(url, data=orjson.dumps(body), headers=headers, allow_redirects=False) as response:
            if (response.content_length or 0) > LARGEST:
                raise wire.Transient(f"a reply of {response.content_length:,} bytes")
            raw = wire.scrub(await whole(response), key)
    except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
        raise wire.Unreachable(str(error)) from None
    except (aiohttp.ClientError, ConnectionError, UnicodeError) as error:
        raise wire.Transient(f"the connection broke: {type(error).__name__}") from None
    if response.status != 200:
        wire.check(response.status, {name.lower(): value for name, value in response.headers.items()}, raw, key)
    return raw


async def whole(response: aiohttp.ClientResponse) -> bytes:
    """The body, up to a size. Transient beyond."""
    if response.content_length is not None and response.content_length <= LARGEST:
        return await response.read()
    parts, size = [], 0
    async for part in response.content.iter_any():
        parts.append(part)
        size += len(part)
        if size > LARGEST:
            raise wire.Transient(f"a reply of more than {LARGEST:,} bytes")
    return b"".join(parts)
