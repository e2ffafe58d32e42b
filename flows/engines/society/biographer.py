r"""A person made up to given traits, in one sentence: what a member says to who asks for a persona.

    portray("age: over 65\ngender: woman\ncontinent: Africa", "food", request)
    -> "A woman over 65 from a market town near Cairo in Africa who bakes for the whole street and keeps recipes in a biscuit tin."

Which traits there are is anybody's choice: gender, age and continent have words of their own in data/society/lives.yaml, any other is said
as it was given. What is drawn follows from the message, the seed and the temperature.
"""

import random

from prefloom.flows.engines.protocol import Request
from prefloom.flows.engines.society.chance import Dice
from prefloom.flows.engines.society.data import load

_LONGEST = 80  # characters of a trait that are repeated


def portray(traits: str, theme: str, request: Request) -> str:
    """The sentence."""
    known, dice = load("lives.yaml"), Dice("biographer", request)
    told = {name.strip().lower(): value.strip()[:_LONGEST] for name, _, value in (line.partition(":") for line in traits.split("\n"))}
    gender, age = told.pop("gender", "person"), told.pop("age", "")
    age = f"aged {age}" if age[:1].isdigit() else age
    continent = told.pop("continent", "") or told.pop("place", "")
    places = known["places"].get(continent.lower(), [])
    home = f"from {dice.choice(places)} in {continent}" if places else f"from {continent}" if continent else ""
    others = [f"whose {name} is {value}" for name, value in told.items() if value]
    lives = known["lives"].get(theme.strip().lower()) or [life for own in known["lives"].values() for life in own]
    said = f"who {dice.choice(lives)} and {_other(known['habits'], dice)}"
    words = " ".join(part for part in ("A", gender, age, home, *others, said) if part)
    return (words[:1] + ("n" if gender[:1].lower() in "aeiou" and gender else "") + words[1:]) + "."


def _other(habits: list[str], dice: random.Random) -> str:
    return habits[int(dice.random() * len(habits)) % len(habits)]
