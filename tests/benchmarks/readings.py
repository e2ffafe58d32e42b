"""Every reading of one society: all people, all shipped judge templates, both orders. Made once in process, kept as .npz.

    known = load("fspo-like", 0.65, seed=1)            # 28,800 labels: 120 people, 120 shipped prompts, two comparisons each
    known.reads[7]         ->  [[1.9, 0.7], …]         one row per template; log-odds for a, shown first and shown second
    known.truth[7]         ->  0.41                    u(a) - u(b) of the planted tastes of that persona
    known.generic[known.comparison[7]]                 the same without a persona, by judge/generic

    python -m tests.benchmarks.readings [--seeds 1 2 3 4 5 6 7] [--phis .25 .65 .9]        fills the cache; about a minute for each

The seed plants the people, writes the answers and draws the pairs. Which comparison a persona is asked about follows from hashes and never
from what a text says. A judge that refuses leaves a nan. Nothing here has gone through a check.
Cache: the folder in PREFLOOM_READINGS, else `prefloom-readings` in the system's temporary folder. A file's name has the hash of what it is
made from.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, fields
from importlib.resources import files
from pathlib import Path

import numpy as np
import orjson
from numpy.typing import NDArray

from prefloom.flows.engines.protocol import Request
from prefloom.flows.engines.society import SOCIETY_VERSION, Society, told
from prefloom.flows.engines.society.data import revision
from prefloom.flows.engines.society.judge import Asked, Judge, profile
from prefloom.flows.engines.society.people import PEOPLE_VERSION, People, plant
from prefloom.prompts import load as template
from prefloom.schemas.ids import content_hash, draw, unit

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
TEMPLATES = ("judge/pairwise", "judge/choice", "judge/reader", "judge/recommend", "judge/keep")
GENERIC = "judge/generic"
PHIS = (0.25, 0.65, 0.9)
WRITERS = ("terse", "friendly", "scholar", "rambler")
VIEWS = ("a numbered list of steps, formal", "flowing prose with examples and some humour")
PAIRS = 6  # of each prompt
EACH = 2  # of those that a persona is asked about
CHUNK = 4096


@dataclass(frozen=True)
class Readings:
    """One row per label in the first group, one per comparison in the second."""

    persona: Ints
    prompt: Ints
    domain: Ints  # place in `domains`
    comparison: Ints
    truth: Floats  # u(a) - u(b)
    reads: Floats  # (labels, templates, 2): log-odds for a, shown first and shown second; nan where the judge refused
    mass: Floats  # (labels, templates, 2)
    longer: Floats  # log length of a - log length of b

    generic: Floats  # (comparisons, 2): the same as `reads`, without a persona

    domains: NDArray[np.str_]
    templates: NDArray[np.str_]

    def only(self, rows: NDArray[np.bool_]) -> "Readings":
        """The labels for which `rows` holds; comparisons stay as they are numbered."""
        aside = ("generic", "domains", "templates")
        return Readings(**{f.name: getattr(self, f.name) if f.name in aside else getattr(self, f.name)[rows] for f in fields(self)})


def load(
    preset: str = "fspo-like", phi: float = 0.65, seed: int = 1, people: int = 120, prompts: int = 120, profile_name: str = "small"
) -> Readings:
    """The readings, from the cache or made now."""
    made_of = [
        SOCIETY_VERSION,
        PEOPLE_VERSION,
        revision(),
        [template(name).hash for name in (*TEMPLATES, GENERIC)],
        WRITERS,
        VIEWS,
        PAIRS,
        EACH,
    ]
    name = f"{preset}-{profile_name}-{phi:g}-{seed}-{people}x{prompts}-{content_hash(made_of, size=6)}.npz"
    folder = Path(os.environ.get("PREFLOOM_READINGS") or Path(tempfile.gettempdir()) / "prefloom-readings")
    if not (folder / name).is_file():
        folder.mkdir(parents=True, exist_ok=True)
        made = make(preset, phi, seed, people, prompts, profile_name)
        draft = folder / f"{name}.{os.getpid()}.part.npz"
        np.savez(draft, **{f.name: getattr(made, f.name) for f in fields(made)})
        draft.rename(folder / name)
    with np.load(folder / name) as arrays:
        return Readings(**{f.name: arrays[f.name] for f in fields(Readings)})


def make(preset: str, phi: float, seed: int, people: int, prompts: int, profile_name: str = "small") -> Readings:
    """Plant the people, write the answers, draw who is asked about what, and read all of it."""
    lines = (files("prefloom.data") / "seeds" / "prompts.jsonl").read_text().splitlines()
    tasks = [orjson.loads(line) for line in lines][:prompts]
    found = plant(preset, people, seed)
    answers = [answers_of(task["text"], seed) for task in tasks]
    texts = [text for some in answers for text in some]
    pairs, persona, comparison = drawn(len(tasks), len(answers[0]), people, seed)
    prompt_of = pairs[:, 0]
    domains = sorted({task["domain"] for task in tasks})
    a, b = pairs[comparison, 1], pairs[comparison, 2]
    utilities = found.utilities(texts)
    length = np.log([max(len(text), 1) for text in texts])
    judge = profile(profile_name, phi)
    asked = np.stack([persona, a, b], axis=1)
    reads, mass = (
        np.stack(parts, axis=1) for parts in zip(*(both_orders(judge, name, found, texts, asked) for name in TEMPLATES), strict=True)
    )
    nobody = np.stack([np.full(len(pairs), -1), pairs[:, 1], pairs[:, 2]], axis=1)
    return Readings(
        persona=persona,
        prompt=prompt_of[comparison],
        domain=np.array([domains.index(task["domain"]) for task in tasks])[prompt_of[comparison]],
        comparison=comparison,
        truth=utilities[persona, a] - utilities[persona, b],
        reads=reads,
        mass=mass,
        longer=length[a] - length[b],
        generic=both_orders(judge, GENERIC, found, texts, nobody)[0],
        domains=np.array(domains),
        templates=np.array(TEMPLATES),
    )


def answers_of(task: str, seed: int) -> list[str]:
    """One answer by each writer in each view."""
    texts: list[str] = []
    for writer in WRITERS:
        wanted = [Request(template("candidate/answer").render(prompt=task, view=view), 512, 0.9, seed) for view in VIEWS]
        texts += [reply.text or "" for batch in Society(writer).answer(wanted, lambda: False) for _, reply in batch]
    return texts


def drawn(prompts: int, answers: int, people: int, seed: int) -> tuple[Ints, Ints, Ints]:
    """(comparisons as prompt, place of a, place of b; persona and comparison of each label)."""
    every = np.array([(i, j) for i in range(answers) for j in range(i + 1, answers)])
    task, pair = np.arange(prompts, dtype=np.uint64)[:, None], np.arange(len(every), dtype=np.uint64)
    kept = np.argsort(draw(seed, "readings/pairs", task, pair), axis=1, kind="stable")[:, :PAIRS]
    sides = every[kept]
    turned = unit(draw(seed, "readings/sides", task, pair[:PAIRS])) < 0.5  # which of two is called a is an accident of an id, so here too
    sides = np.where(turned[..., None], sides[..., ::-1], sides) + answers * np.arange(prompts)[:, None, None]
    rows = np.concatenate([np.broadcast_to(np.arange(prompts)[:, None, None], (prompts, PAIRS, 1)), sides], axis=2).reshape(-1, 3)
    who = np.arange(people, dtype=np.uint64)[None, :, None]
    dice = draw(seed, "readings/asked", task[..., None], who, pair[:PAIRS][None, None])
    chosen = np.sort(np.argsort(dice, axis=2, kind="stable")[..., :EACH], axis=2)
    comparison = (chosen + PAIRS * np.arange(prompts)[:, None, None]).ravel()
    return rows, np.broadcast_to(np.arange(people)[None, :, None], chosen.shape).ravel(), comparison


def both_orders(judge: Judge, name: str, people: People, texts: Sequence[str], asked: Ints) -> tuple[Floats, Floats]:
    """(log-odds for a, mass) of every (person, text a, text b), in order ab and in order ba, on the grid on which an engine gives them."""
    around = wording(name)
    odds, mass = np.full((len(asked), 2), np.nan), np.full((len(asked), 2), np.nan)
    for order, sign in enumerate((1.0, -1.0)):
        for start in range(0, len(asked), CHUNK):
            block = asked[start : start + CHUNK].tolist()
            shown = [(who, a, b) if order == 0 else (who, b, a) for who, a, b in block]
            verdicts = judge.read([Asked(texts[x], texts[y], people.descriptions[who] if who >= 0 else "", around) for who, x, y in shown])
            odds[start : start + CHUNK, order] = [np.nan if v.refuses else sign * round(v.log_odds, 4) for v in verdicts]
            mass[start : start + CHUNK, order] = [np.nan if v.refuses else round(v.mass, 4) for v in verdicts]
    return odds, mass


def wording(name: str) -> str:
    """What a template says around the passages: all that a judge of the society knows of it."""
    passages = {"prompt": "p", "first": "x", "second": "y"} | ({} if name == GENERIC else {"persona": "z"})
    return told(Request(template(name).render(**passages), 1))[1]


def main() -> None:
    """Fill the cache."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3, 4, 5, 6, 7])
    parser.add_argument("--phis", type=float, nargs="+", default=PHIS)
    parser.add_argument("--preset", default="fspo-like")
    options = parser.parse_args()
    for phi in options.phis:
        for seed in options.seeds:
            began = time.perf_counter()
            known = load(options.preset, phi, seed)
            right = np.nanmean((np.nansum(known.reads, axis=(1, 2)) > 0) == (known.truth > 0))
            took = time.perf_counter() - began
            print(f"{options.preset} φ {phi:g} seed {seed}: {len(known.truth):,} labels, all templates {right:.3f}, {took:.0f} s")


if __name__ == "__main__":
    main()
