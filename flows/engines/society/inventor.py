r"""What a member of the society comes up with: a task like others, questions of certain people, viewpoints of a task.

    invent("1. Explain tides.\n2. Explain gravity.", request, "scholar")     ->  "Which mistake do people make about infinity?"
    questions("age: old", 2, request, "scholar")     ->  '{"questions": ["When is the right moment to hand over the car keys …", "…"]}'
    viewpoints("How should I spend a free weekend?", 2, request, "scholar")  ->  '{"views": ["shared meals and helping hands", "…"]}'

What it knows is in data/society/inventions.yaml beside the works, concepts and questions that it can speak about.
"""

import re
from collections import Counter

import orjson

from prefloom.flows.engines.protocol import Request
from prefloom.flows.engines.society.chance import Dice
from prefloom.flows.engines.society.content import about, subjects
from prefloom.flows.engines.society.data import load

_NUMBER = re.compile(r"\s*\d+[.)]\s+")
_READ = 40  # examples that are looked at
_MEDIA = {"film": "the film ", "series": "the series ", "anime": "the anime ", "book": "the book "}


def invent(examples: str, request: Request, character: str) -> str:
    """A task of the kind that most of the examples are of, about something that none of them is about."""
    dice = Dice(character, request)
    known = load("inventions.yaml")
    seen = [about(_NUMBER.sub("", line, count=1)) for line in examples.splitlines()[:_READ] if line.strip()]
    kinds = Counter(subject.kind for subject in seen)
    kind = max(kinds, key=lambda name: (kinds[name], name)) if kinds else "advice"
    used = {subject.name for subject in seen}
    if kind == "question":
        open_questions = [ask for name, entry in subjects("question").items() if name not in used for ask in entry["asks"]]
        if dice.random() < 0.5:
            return str(dice.choice(open_questions))
        kind = "advice"
    if kind == "advice":
        names = known["activities"]
    else:
        names = [_called(kind, name, entry) for name, entry in subjects(kind).items() if name not in used]
    return str(dice.choice(known["frames"][kind])).format(x=dice.choice(names), end=dice.choice(known["ends"][kind]))


def questions(people: str, count: int, request: Request, character: str) -> str:
    """JSON: so many questions of the people told of as `trait: value`."""
    dice = Dice(character, request)
    known = load("inventions.yaml")
    trait, _, value = people.partition(":")
    words = set(re.findall(r"[a-z0-9+-]+", value.lower()))
    kinds = [kind for kind in known["people"] if words.intersection(kind["words"])]
    asks = [ask for kind in kinds for ask in kind["asks"]]
    ends = [end for kind in kinds for end in kind["ends"]]
    ends = ends or [end.format(trait=trait.strip()[:60], value=value.strip()[:60]) for end in known["others"]]
    said = dice.sample(asks, min(count, len(asks)))
    while len(said) < count:
        frame, activity, end = dice.choice(known["frames"]["advice"]), dice.choice(known["activities"]), dice.choice(ends)
        said.append(frame.format(x=activity, end=end))
    return orjson.dumps({"questions": said}).decode()


def viewpoints(task: str, count: int, request: Request, character: str) -> str:
    """JSON: so many viewpoints of a task, as far as the member knows so many."""
    dice = Dice(character, request)
    subject, known = about(task), load("inventions.yaml")["views"]
    own = [one["name"] for one in subject.entry["views"]] if subject.kind == "question" else []
    general = known["advice" if subject.kind == "question" else subject.kind]
    said = [*dice.sample(own, len(own)), *dice.sample(general, len(general))]
    return orjson.dumps({"views": said[:count]}).decode()


def _called(kind: str, name: str, entry: dict[str, object]) -> str:
    if kind == "work":
        return _MEDIA.get(str(entry.get("medium")), "") + name
    return name.upper() if len(name) < 4 else name
