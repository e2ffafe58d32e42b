"""How alike eight answers to a prompt are when a model lists their views first, or they are written for personas. Prints Markdown.

    python -m tests.benchmarks.steering --prompts 24        the society on prompts that ship; ways and measures as in similarity.py

Beside two ways of similarity.py stand those of a recipe: `views: {model: scholar, count: 8}` and `steer: {personas: 8}`, by one writer
(another one from prompt to prompt) and by all six in turn. Prompts, writers and seeds are the same for every way; intervals are over prompts.
"""

import argparse
from collections.abc import Sequence

import numpy as np
import orjson

from prefloom.flows.diversity.grid import on_grid
from prefloom.flows.engines.embedder import open_embedder
from prefloom.flows.engines.protocol import Request
from prefloom.flows.engines.society import Society
from prefloom.flows.engines.society.people import plant
from prefloom.prompts import load
from prefloom.schemas.embedder import LocalEmbedder
from tests.benchmarks import similarity as s
from tests.benchmarks.panel import SEEDS, ask

WAYS = (
    s.Way("one writer, T = 1.0", published=".94 / .95"),
    s.Way("one writer, steered to personas", steered="steer", published=".81 / .82"),
    s.Way("one writer, listed views", steered="listed"),
    s.Way("one writer, asked views", steered="asked", published=".78 / .78"),
    s.Way("ensemble, steered to personas", steered="steer", ensemble=True),
    s.Way("ensemble, asked views", steered="asked", ensemble=True, published=".71 / .73"),
)


def listed(prompts: Sequence[str], seed: int) -> list[list[str]]:
    """What the scholar lists for each prompt."""
    template = load("candidate/views")
    requests = [Request(template.render(prompt=prompt, count=str(s.EACH)), 512, 0.9, seed) for prompt in prompts]
    return [orjson.loads(reply.text or "{}")["views"][: s.EACH] for reply in ask(Society("scholar"), requests)]


def messages(way: s.Way, prompts: Sequence[str], seed: int) -> list[list[tuple[str, Request]]]:
    """[prompt][answer] -> (writer, request)."""
    plain, steered = load("candidate/answer"), load("candidate/steered")
    people = plant("fspo-like", s.EACH * len(prompts), seed).descriptions
    views = listed(prompts, seed) if way.steered == "asked" else [list(s.VIEWS)] * len(prompts)
    plan = []
    for place, prompt in enumerate(prompts):
        rows = []
        for number in range(s.EACH):
            view = views[place][number % len(views[place])] if way.steered in ("asked", "listed") else None
            said = plain.render(prompt=prompt, view=view)
            if way.steered == "steer":
                said = steered.render(prompt=prompt, view=None, persona=people[place * s.EACH + number])
            writer = s.WRITERS[(place + (number if way.ensemble else 0)) % len(s.WRITERS)]
            rows.append((writer, Request(said, 512, way.temperature, seed + number)))
        plan.append(rows)
    return plan


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompts", type=int, default=24)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    embedder = open_embedder(LocalEmbedder(engine="sentence-transformers"))
    seeds = [orjson.loads(line)["text"] for line in SEEDS.read_text(encoding="utf-8").splitlines()]
    drawn = [seeds[place] for place in np.random.default_rng(given.seed).permutation(len(seeds))][: given.prompts]
    sets = []
    for way in WAYS:
        plan = messages(way, drawn, given.seed)
        texts = [[(ask(Society(who), [request])[0].text or "") for who, request in row] for row in plan]
        writers = [[who for who, _ in row] for row in plan]
        sets.append(s.answers(way.name, texts, writers, lambda said: on_grid(embedder.encode(said)), way.published))
    print(s.levels(sets))


if __name__ == "__main__":
    main()
