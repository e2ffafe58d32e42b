r"""What the server says: the society's replies in the shapes of OpenAI's API, and of vLLM where that has more.

    voice = Voice(Society("good"), cache_blocks=65_536)
    voice.chat(asked, number=7)     ->  {"id": "chatcmpl-…7", "choices": [{"message": {"content": "A"}, …}], "usage": {…}, …}
    events(reply)                   ->  [b"data: {…}\n\n", …, b"data: [DONE]\n\n"]        the same as a stream

Token counts are the society's own. Log-probabilities of the letters are those of the judge; those of prose are made up from the words.
"""

import base64
import math
import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import accumulate
from typing import Any

import orjson

from prefloom.flows.engines.protocol import Reply, Request
from prefloom.flows.engines.society import Society
from prefloom.flows.engines.society.server_asked import Asked, Refusal
from prefloom.flows.engines.society.server_cache import Counts, PrefixCache
from prefloom.flows.engines.society.server_tokens import PIECE, pieces
from prefloom.prompts import Messages
from prefloom.prompts.fence import fenced

_UNLIKELY = -20.0  # of a token that was asked about and that the judge gives no thought
_SURE = 0.95  # with which a question outside any template is answered by its first letter

Reading = dict[str, Any]


class Voice:
    """One model of the server: a member of the society, what it has cached, and what it has counted."""

    def __init__(self, society: Society, cache_blocks: int) -> None:
        self.society, self.identity = society, society.identity
        self.cache, self.counts = PrefixCache(cache_blocks), Counts()

    def chat(self, asked: Asked, number: int) -> Reading:
        """A chat completion."""
        replies, usage = self._answer(asked)
        choices = [
            {
                "index": index,
                "message": {"role": "assistant", "content": reply.text, "refusal": None},
                "logprobs": _chat_logprobs(reply, asked) if asked.logprobs else None,
                "finish_reason": reply.finish_reason,
            }
            for index, reply in enumerate(replies)
        ]
        return self._whole(f"chatcmpl-{number:016x}", "chat.completion", choices, usage)

    def completion(self, asked: Asked, number: int) -> Reading:
        """A text completion: the choices of the first prompt, then those of the next."""
        replies, usage = self._answer(asked)
        choices = [
            {
                "index": index,
                "text": reply.text,
                "logprobs": _text_logprobs(reply, asked) if asked.logprobs else None,
                "finish_reason": reply.finish_reason,
            }
            for index, reply in enumerate(replies)
        ]
        return self._whole(f"cmpl-{number:016x}", "text_completion", choices, usage)

    def _whole(self, name: str, kind: str, choices: list[Reading], usage: Reading) -> Reading:
        return {
            "id": name,
            "object": kind,
            "created": int(time.time()),
            "model": self.society.character,
            "system_fingerprint": self.identity,
            "choices": choices,
            "usage": usage,
        }

    def _answer(self, asked: Asked) -> tuple[list[Reply], Reading]:
        """The replies to every conversation, n to each, and their tokens."""
        requests = [_request(asked, messages, sample) for messages in asked.conversations for sample in range(asked.n)]
        found: list[Reply] = [Reply(error="no reply")] * len(requests)
        for batch in self.society.answer(requests, lambda: False):
            for place, reply in batch:
                found[place] = reply
        replies = [_finished(reply, request, asked) for reply, request in zip(found, requests, strict=True)]
        prompt = cached = 0
        for place in range(0, len(replies), asked.n):
            request, tokens = requests[place], replies[place].prompt_tokens or 0
            prompt += tokens
            # The role belongs to what a block is found by, and counts as little as in the society's own count.
            cached += self.cache.take("".join(role[0] + content for role, content in request.messages), tokens)
        completion = sum(reply.completion_tokens or 0 for reply in replies)
        self.counts.prompt += prompt
        self.counts.cached += cached
        self.counts.generation += completion
        self.counts.finished.update(reply.finish_reason or "stop" for reply in replies)
        return replies, _usage(prompt, completion) | {"prompt_tokens_details": {"cached_tokens": cached}}


def _request(asked: Asked, messages: Messages, sample: int) -> Request:
    """As vLLM does, sample i has the seed s + i. Without a seed the first is as it is without `n`, and the others still differ."""
    seed = (sample or None) if asked.seed is None else asked.seed + sample
    return Request(messages, asked.max_tokens, asked.temperature, seed, asked.letters, schema=asked.schema)


def _finished(reply: Reply, request: Request, asked: Asked) -> Reply:
    """The reply with its end where a stop sequence has it, and with letters where a question stands outside any template."""
    if reply.error is not None:
        raise Refusal(500, reply.error)
    if asked.offered and reply.logprobs is None and not any(fenced(content) for _, content in request.messages):
        first, *others = asked.letters
        rest = {letter: round(math.log((0.99 - _SURE) / len(others)), 4) for letter in others}
        reply = replace(reply, text=first, finish_reason="stop", logprobs={first: round(math.log(_SURE), 4)} | rest, completion_tokens=1)
    text = reply.text or ""
    if ends := [place for sequence in asked.stop if (place := text.find(sequence)) >= 0]:
        text = text[: min(ends)]
        return replace(reply, text=text, finish_reason="stop", completion_tokens=-(-len(text) // PIECE))
    return reply


def _chat_logprobs(reply: Reply, asked: Asked) -> Reading:
    content = []
    for place, (token, logprob, likeliest) in enumerate(_said(reply, asked.top)):
        if place == 0 and asked.wanted:
            said = reply.logprobs
            # A judge that says no letter has none in mind; elsewhere every token that was asked about is named.
            named = {token: logprob} | {name: said.get(name, _UNLIKELY) for name in asked.wanted if said is not None and name != token}
        else:
            named = likeliest
        content.append(_entry(token, logprob) | {"top_logprobs": [_entry(name, value) for name, value in named.items()]})
    return {"content": content, "refusal": None}


def _text_logprobs(reply: Reply, asked: Asked) -> Reading:
    said = list(_said(reply, asked.top))
    tokens = [token for token, _, _ in said]
    return {
        "tokens": tokens,
        "token_logprobs": [logprob for _, logprob, _ in said],
        "top_logprobs": [likeliest for _, _, likeliest in said],
        "text_offset": list(accumulate(map(len, tokens[:-1]), initial=0)) if tokens else [],
    }


def _said(reply: Reply, top: int) -> Iterator[tuple[str, float, dict[str, float]]]:
    """(token, its log-probability, the likeliest at its place) for every token of a reply."""
    text = reply.text or ""
    for start in range(0, len(text), PIECE):
        token = text[start : start + PIECE]
        known = reply.logprobs or {} if start == 0 else {}
        logprob = known.get(token, -(zlib.crc32(token.encode("utf-8", "replace")) % 20_000) / 10_000)
        ranked = sorted((known | {token: logprob}).items(), key=lambda item: -item[1])
        yield token, logprob, dict(ranked[:top])


def _entry(token: str, logprob: float) -> Reading:
    return {"token": token, "logprob": logprob, "bytes": list(token.encode("utf-8", "replace"))}


def _usage(prompt: int, completion: int) -> Reading:
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}


def events(reply: Reading, asked: Asked) -> list[bytes]:
    """A reply as server-sent events, one for each token."""
    head = {name: reply[name] for name in ("id", "object", "created", "model", "system_fingerprint")}
    if asked.chat:
        head["object"] = "chat.completion.chunk"
    extra: Reading = {"usage": None} if asked.include_usage else {}
    chunks = [head | {"choices": [choice]} | extra for whole in reply["choices"] for choice in _deltas(whole, asked.chat)]
    if asked.include_usage:
        chunks.append(head | {"choices": [], "usage": reply["usage"]})
    return [b"data: " + orjson.dumps(chunk) + b"\n\n" for chunk in chunks] + [b"data: [DONE]\n\n"]


def _deltas(choice: Reading, chat: bool) -> Iterator[Reading]:
    index, logprobs = choice["index"], choice["logprobs"]
    text: str = choice["message"]["content"] if chat else choice["text"]

    def chunk(said: Reading, known: Any = None, finish: str | None = None) -> Reading:
        return {"index": index, **said, "logprobs": known, "finish_reason": finish}

    if chat:
        yield chunk({"delta": {"role": "assistant", "content": ""}})
    for place, start in enumerate(range(0, len(text), PIECE)):
        piece = text[start : start + PIECE]
        if chat:
            yield chunk({"delta": {"content": piece}}, logprobs and {"content": [logprobs["content"][place]], "refusal": None})
        else:
            yield chunk({"text": piece}, logprobs and {name: [values[place]] for name, values in logprobs.items()})
    yield chunk({"delta": {}} if chat else {"text": ""}, None, choice["finish_reason"])


def embeddings(model: str, texts: Sequence[str], packed: bool) -> bytes:
    """The vectors of some texts, as numbers or as base64 of float32."""
    from prefloom.flows.engines.scorers.words import embed  # with numpy and a file of words, for those who want vectors

    rows = [
        {"object": "embedding", "index": index, "embedding": base64.b64encode(row.tobytes()).decode() if packed else row.tolist()}
        for index, row in enumerate(embed(texts).astype("<f4"))
    ]
    tokens = sum(len(pieces(text)) for text in texts)
    return orjson.dumps({"object": "list", "data": rows, "model": model, "usage": {"prompt_tokens": tokens, "total_tokens": tokens}})


def models(voices: Mapping[str, "Voice"], created: int, longest: int) -> list[Reading]:
    """The entries of /v1/models."""
    common = {"object": "model", "created": created, "owned_by": "prefloom", "parent": None, "max_model_len": longest}
    return [{"id": name, "root": voice.identity, **common} for name, voice in voices.items()]


def template(identity: str, messages: Messages, generate: bool) -> str:
    """A conversation as the chat template has it. It opens with the model's revision: another society is another model."""
    turns = "".join(f"<|{role}|>\n{content}\n" for role, content in messages)
    return f"<|{identity}|>\n{turns}" + "<|assistant|>\n" * generate
