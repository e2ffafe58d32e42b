"""The simulated society: models that write answers and judges that read them, in process, with no weights and no network.

    Society("scholar").answer([Request(messages=(("user", "…"),), max_tokens=512)])   ->  batches of (index, Reply)

WHO IS PLANTED   people.py (tastes), wording.py (descriptions), utility.py (what a text is worth), truth.py (kept apart from every run)
WHO WRITES       respondent.py (what), voice.py (how), content.py (what is known), inventor.py (new tasks, questions, viewpoints),
                 biographer.py (people who do not exist)
WHO JUDGES       reader.py (what a description says), judge.py (log-odds with declared faults), refining.py (when it cannot tell)
WHO IS ASKED     interview.py (planted people themselves)

Everything follows from the rendered messages, the sampling settings and the member (data/society/characters.yaml): ids, traits and planted
tastes never reach it. A message with fenced `first` and `second` passages is judged; one with `chosen` and `other` gets a sentence on who
chose so (refining.py); one with `traits`, `examples`, `people` or an `outline` asks for something new; any other is answered. The same
request gets the same reply on every machine.
"""

import hashlib
import math
import re
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from itertools import accumulate

import orjson

from prefloom.flows.engines.protocol import Reply, Request
from prefloom.flows.engines.society.biographer import portray
from prefloom.flows.engines.society.data import load, revision
from prefloom.flows.engines.society.inventor import invent, questions, viewpoints
from prefloom.flows.engines.society.judge import Asked, Fill, Judge, Verdict, profile
from prefloom.flows.engines.society.refining import doubts, sentence, three
from prefloom.flows.engines.society.respondent import respond
from prefloom.prompts.fence import apart
from prefloom.schemas.errors import InputError, nearest

SOCIETY_VERSION = 5  # raise it when the code of this folder or of the scorers gives other replies
BATCH = 512
REFUSAL = "I would rather not choose on somebody else's behalf."
_WORDY = "Both answers have something to be said for them."


def characters() -> list[str]:
    """Names of the members."""
    return list(load("characters.yaml"))


class Society:
    """One member of the society, as an engine. `phi` and `fill` say how it errs as a judge."""

    free = True
    votes = 0
    in_flight = BATCH

    def __init__(self, character: str, phi: float = 0.65, fill: Fill = "stereotype") -> None:
        if character not in characters():
            raise InputError("recipe", "character", found=f"'{character}'", expected=nearest(character, characters()))
        self.character, self._phi, self._fill = character, phi, fill

    @cached_property
    def identity(self) -> str:
        """society/<character>-<phi>-<fill>@<revision>; the revision is the hash of the society's files and the version of its code."""
        content = hashlib.blake2b(f"{SOCIETY_VERSION}\0{revision()}".encode(), digest_size=6).hexdigest()
        return f"society/{self.character}-{self._phi:g}-{self._fill}@{content}"

    @cached_property
    def _judge(self) -> Judge:
        return profile(load("characters.yaml")[self.character]["judges"], self._phi, self._fill)

    def answer(self, requests: Sequence[Request], stop: Callable[[], bool]) -> Iterator[list[tuple[int, Reply]]]:
        """Replies in batches, in order."""
        for start in range(0, len(requests), BATCH):
            if stop():
                return
            yield list(enumerate(self._replies(requests[start : start + BATCH]), start))

    def _replies(self, requests: Sequence[Request]) -> list[Reply]:
        replies: list[Reply | None] = [None] * len(requests)
        places, asked = [], []
        for place, request in enumerate(requests):
            passages, around = told(request)
            if "first" in passages and "second" in passages:
                places.append(place)
                asked.append(Asked(passages["first"], passages["second"], passages.get("persona", ""), around))
            elif "chosen" in passages and "other" in passages:
                said = sentence(passages["chosen"], passages["other"], passages.get("persona", ""))
                replies[place] = _reply(request, said, None)
            else:
                replies[place] = _reply(request, self._words(passages, around, request), None)
        for place, one, verdict in zip(places, asked, self._judge.read(asked), strict=True):
            if len(requests[place].letters) == 3 and not verdict.refuses:
                chances = three(verdict.log_odds, doubts([one])[0], self._judge.traits["slope"])
                replies[place] = _chosen(requests[place], chances, verdict.mass)
            else:
                replies[place] = _judged(requests[place], verdict)
        return [reply for reply in replies if reply is not None]

    def _words(self, passages: dict[str, str], around: str, request: Request) -> str:
        """Something new after examples, of some people or about a task, where that is asked for; an answer to the task otherwise."""
        if traits := passages.get("traits"):
            return portray(traits, passages.get("theme", ""), request)
        if "examples" in passages:
            return invent(passages["examples"], request, self.character)
        if people := passages.get("people"):
            return questions(people, _how_many(around), request, self.character)
        if outline := passages.get("outline"):
            return viewpoints(outline, _how_many(around), request, self.character)
        task = passages.get("task", request.messages[-1][1])
        view, reader = passages.get("view"), passages.get("reader")
        return respond(task, f"{view}. {reader}" if view and reader else view or reader, request, self.character)


def _how_many(around: str) -> int:
    """The first number that is asked for, within reason."""
    found = re.search(r"\b(\d{1,2})\b", around)
    return max(1, int(found.group(1))) if found else 4


def told(request: Request) -> tuple[dict[str, str], str]:
    """Passages of the last message and of the system's by name, and the words around them. What was said in between is past."""
    passages: dict[str, str] = {}
    around = ""
    for content in [*(content for role, content in request.messages[:-1] if role == "system"), request.messages[-1][1]]:
        found, words = apart(content) if "<" in content else ({}, content)
        passages |= found
        around += words
    return passages, around


def _judged(request: Request, verdict: Verdict) -> Reply:
    """A letter with the log-probabilities of both; words from one who refuses or does not keep to the menu."""
    if verdict.refuses:
        return _reply(request, REFUSAL, None)
    log_mass = math.log(max(verdict.mass, 1e-12))
    first, second = _log_chances(verdict.log_odds)
    text = "A" if verdict.log_odds >= 0 else "B"
    if request.temperature:
        text = _sampled(request, verdict.log_odds / request.temperature, verdict.mass)
    elif verdict.mass < 0.5:
        text = _WORDY
    return _reply(request, text, {"A": round(log_mass + first, 4), "B": round(log_mass + second, 4)})


def _chosen(request: Request, chances: Sequence[float], mass: float) -> Reply:
    """The same with a third letter for who cannot tell. A sample is drawn along the letters, by the seed."""
    letter = max(zip(chances, request.letters, strict=True), key=lambda item: item[0])[1]
    text = letter if mass >= 0.5 else _WORDY
    if request.temperature:
        tempered = [math.exp((chance - max(chances)) / request.temperature) for chance in chances]
        number = _number(request) / mass * math.fsum(tempered)
        text = next((one for one, end in zip(request.letters, accumulate(tempered), strict=True) if number < end), _WORDY)
    logs = {one: round(math.log(max(mass, 1e-12)) + chance, 4) for one, chance in zip(request.letters, chances, strict=True)}
    return _reply(request, text, logs)


def _number(request: Request) -> float:
    """A number in [0, 1) that goes with the request, its seed and its repeat."""
    content = orjson.dumps([request.messages, request.temperature, request.seed, request.repeat])
    return int.from_bytes(hashlib.blake2b(content, digest_size=8).digest()) / 2.0**64


def _sampled(request: Request, log_odds: float, mass: float) -> str:
    """A verdict drawn from the same probabilities, by the seed."""
    number = _number(request)
    if number >= mass:
        return _WORDY
    return "A" if number / mass < math.exp(_log_chances(log_odds)[0]) else "B"


def _reply(request: Request, text: str, logprobs: dict[str, float] | None) -> Reply:
    # A token is four characters here, and no reply has more of them than it was allowed.
    prompt, said = sum([len(content) for _, content in request.messages]) // 4, text[: 4 * request.max_tokens]
    return Reply(said, "stop" if said == text else "length", logprobs, prompt, -(-len(said) // 4))


def _log_chances(log_odds: float) -> tuple[float, float]:
    """Logarithms of the probabilities of the first and of the second."""
    tail = math.log1p(math.exp(-abs(log_odds)))
    return min(log_odds, 0.0) - tail, min(-log_odds, 0.0) - tail
