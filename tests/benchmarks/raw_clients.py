"""What one would write without prefloom, to be measured beside it: the naive openai script and a plain aiohttp worker pool.

    python -m tests.benchmarks.raw_clients --variant openai --n 5000 --conc 256 --base-url http://127.0.0.1:8399/v1 --out /tmp/x

Both ask n prompts, each with its tag `[[id=000123]]`, and write prompt and answer to rows.jsonl.
"""

import argparse
import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

FILLER = (
    "You are talking to a careful reader who dislikes jargon, likes short answers with an example, and works in a small clinic. They have "
    "an hour on Sundays. Answer their question: how should I plan a week of simple meals for two people on a small budget?"
)


def prompts(n: int) -> list[str]:
    """n prompts of about 260 characters."""
    return [f"[[id={i:06d}]] {FILLER}" for i in range(n)]


def body(options: argparse.Namespace, prompt: str) -> dict[str, Any]:
    """What is asked about a prompt."""
    return {"model": options.model, "messages": [{"role": "user", "content": prompt}], "temperature": 1.0, "max_tokens": 128}


async def naive(options: argparse.Namespace) -> None:
    """AsyncOpenAI, a semaphore and gather; everything is written at the end."""
    from openai import AsyncOpenAI

    client = AsyncOpenAI(base_url=options.base_url, api_key="sk-none")
    room = asyncio.Semaphore(options.conc)

    async def one(prompt: str) -> dict[str, Any]:
        async with room:
            reply = await client.chat.completions.create(**body(options, prompt))
        return {"prompt": prompt, "answer": reply.choices[0].message.content}

    rows = await asyncio.gather(*(one(prompt) for prompt in prompts(options.n)))
    (options.out / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


async def pool(options: argparse.Namespace) -> None:
    """As many workers as may be in flight, over one iterator; rows are written as they come."""
    import aiohttp

    left: Iterator[str] = iter(prompts(options.n))
    url = options.base_url + "/chat/completions"
    with (options.out / "rows.jsonl").open("w") as file:
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=options.conc)) as session:

            async def worker() -> None:
                for prompt in left:
                    async with session.post(url, json=body(options, prompt)) as response:
                        reply = json.loads(await response.read())
                    file.write(json.dumps({"prompt": prompt, "answer": reply["choices"][0]["message"]["content"]}) + "\n")

            await asyncio.gather(*(worker() for _ in range(options.conc)))


def arguments(description: str | None, variants: list[str]) -> argparse.Namespace:
    """The arguments that all clients take."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--variant", choices=variants, default=variants[0])
    parser.add_argument("--n", type=int, default=5000)
    parser.add_argument("--conc", type=int, default=256)
    parser.add_argument("--base-url", required=True)
    parser.add_argument("--model", default="fake-model")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    return options


if __name__ == "__main__":
    given = arguments(__doc__, ["openai", "aiohttp"])
    asyncio.run(naive(given) if given.variant == "openai" else pool(given))
