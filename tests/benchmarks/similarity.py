"""How alike answers to one prompt are, by how they were asked for, and what each filter buys. Prints Markdown; progress to stderr.

    python -m tests.benchmarks.similarity                                                   the society on the prompts that ship
    python -m tests.benchmarks.similarity --real ANSWERS.jsonl PROMPTS.jsonl                and beside real models (rows as in realism.py)

Every way of asking gives eight answers to each prompt. A single writer is another one from prompt to prompt (all six take their turns), and
the same one for all ways without an ensemble, so that ways are compared on the same prompt and the same writer. Intervals are over prompts.

cosine       of all-MiniLM-L6-v2, mean of the 28 pairs of a prompt; the encoder reads the first 256 tokens
Vendi        how many different answers the eight are worth (Friedman & Dieng 2023): 1 to 8
properties   root mean square difference of 20 scores (set `reading`), in standard deviations of real answers: no encoder
3-grams      distinct 3-grams of words of the eight, as a share of the sum of each one's own: 1/8 for equal answers, 1 at most
|Δu|         what tastes make of it: mean gap of planted utility of two answers, over 100 people (`fspo-like`)
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from prefloom.flows.dataset.embeddings import Vectors
from prefloom.flows.dataset.heterogeneity import Estimate, Floats, Ints
from prefloom.flows.diversity.grid import Grid, on_grid
from prefloom.flows.engines.embedder import open_embedder
from prefloom.flows.engines.protocol import Request
from prefloom.flows.engines.scorers import score
from prefloom.flows.engines.society import Society
from prefloom.flows.engines.society.people import plant
from prefloom.prompts import load
from prefloom.schemas.embedder import LocalEmbedder
from tests.benchmarks import similarity_figures as f
from tests.benchmarks.panel import SEEDS, ask
from tests.benchmarks.realism import over_prompts, real
from tests.benchmarks.realism_page import cell, digits

WRITERS = ("terse", "friendly", "scholar", "coach", "reporter", "rambler")
EACH, KEPT, NEAR, PEOPLE = 8, 4, 0.97, 100
# Manners and viewpoints that can be asked for on any prompt; the first two are those of panel.py.
VIEWS = (
    "a numbered list of steps, formal",
    "flowing prose with examples and some humour",
    "brief and to the point, a clear answer without caveats",
    "in depth, with caveats and both sides",
    "simple words, warm and encouraging, spoken to directly",
    "an expert's view: technical, objective, without jokes",
    "what saves money and keeps people healthy",
    "what is bold, out in nature and shared with others",
)
PAIRS = (  # to see what a threshold parts
    ("Should primary schools set homework?", "Should secondary schools set homework?"),
    ("What is entropy?", "Can you tell me what entropy means?"),
    ("A nurse in her forties from Lisbon who likes long answers.", "A nurse in her forties from Lisbon who dislikes long answers."),
    ("How do I wrap a present neatly?", "How do I wrap a gift neatly?"),
    ("Should primary schools set homework?", "Is homework good for children in primary school?"),
    ("A nurse in her forties from Lisbon who wants a checklist.", "A nurse in her forties from Pune who wants a checklist."),
    ("How do I wrap a present neatly?", "How do I wrap a birthday cake?"),
)
Embed = Callable[[list[str]], Grid]
BEGAN = time.perf_counter()


@dataclass(frozen=True)
class Way:
    """A way of asking for eight answers: to whom, how hot, steered by what; and mean and median that FSPO published (another encoder)."""

    name: str
    temperature: float = 1.0
    steered: str = ""
    ensemble: bool = False
    published: str = ""


WAYS = (
    Way("one writer, T = 0", 0.0),
    Way("one writer, T = 0.3", 0.3, published=".96 / .97"),
    Way("one writer, T = 1.0", published=".94 / .95"),
    Way("one writer, T = 2.0", 2.0),
    Way("one writer + personas", steered="personas", published=".81 / .82"),
    Way("one writer + views", steered="views", published=".78 / .78"),
    Way("ensemble", ensemble=True),
    Way("ensemble + personas", steered="personas", ensemble=True),
    Way("ensemble + views", steered="views", ensemble=True, published=".71 / .73"),
)
STEPS = (  # (what is changed, before, after), as places in WAYS
    ("temperature 0.3 to 1.0", 1, 2),
    ("temperature 1.0 to 2.0", 2, 3),
    ("personas, to one writer", 2, 4),
    ("views, to one writer", 2, 5),
    ("views in place of personas", 4, 5),
    ("an ensemble in place of one writer", 2, 6),
    ("the same, with personas", 4, 7),
    ("the same, with views", 5, 8),
    ("views, to an ensemble", 6, 8),
    ("both, to one writer", 2, 8),
)


@dataclass(frozen=True)
class Answers:
    """Eight answers to each prompt, and who gave them."""

    name: str
    texts: list[list[str]]
    writers: list[list[str]]
    rows: Grid  # [prompt, answer, d]
    published: str = ""

    def first(self, prompts: int) -> "Answers":
        """The same of the first prompts alone."""
        return Answers(f"{self.name}, the same {prompts} prompts", self.texts[:prompts], self.writers[:prompts], self.rows[:prompts])

    @cached_property
    def cosine(self) -> Floats:
        return f.between(self.rows)

    @cached_property
    def properties(self) -> Floats:
        flat = [text for row in self.texts for text in row]
        return f.apart(score("reading", flat).astype(np.float64).reshape(len(self.texts), len(self.texts[0]), -1))

    @cached_property
    def gap(self) -> Floats:
        flat = [text for row in self.texts for text in row]
        return f.gaps(plant("fspo-like", PEOPLE, 1).utilities(flat).reshape(PEOPLE, len(self.texts), -1))

    @cached_property
    def unrepeated(self) -> f.Choice:
        return f.not_near(self.rows, NEAR)

    @cached_property
    def chosen(self) -> f.Choice:
        draw = np.random.default_rng(1)  # the first is always chosen, so no writer may always be first
        return f.most_different(self.rows, [[mine[place] for place in draw.permutation(len(mine))] for mine in self.unrepeated], KEPT)


def say(text: str) -> None:
    print(f"{time.perf_counter() - BEGAN:6.0f} s  {text}", file=sys.stderr, flush=True)


def over(values: Floats, middle: Callable[[Floats], float] = np.nanmean) -> Estimate:
    """The mean of [prompt], or another middle of it, with its interval over prompts. Prompts without a value are left out."""
    known = values[~np.isnan(values)]
    return over_prompts(lambda p: float(middle(known[p])), len(known)) if len(known) else Estimate(*[float("nan")] * 3)


def asked(way: Way, prompts: Sequence[str], seed: int) -> list[list[tuple[str, Request]]]:
    """[prompt][answer] -> (writer, request). Every answer has a seed of its own; nobody steers twice on a prompt."""
    template = load("candidate/answer")
    people = plant("fspo-like", EACH * len(prompts), seed).descriptions if way.steered == "personas" else []
    found = []
    for place, prompt in enumerate(prompts):
        steers: Sequence[str | None] = people[place * EACH :][:EACH] or (VIEWS if way.steered else [None] * EACH)
        found.append(
            [
                (
                    WRITERS[(place + (number if way.ensemble else 0)) % len(WRITERS)],
                    Request(template.render(prompt=prompt, view=view), 512, way.temperature, seed + number),
                )
                for number, view in enumerate(steers)
            ]
        )
    return found


def written(way: Way, prompts: Sequence[str], seed: int, embed: Embed) -> Answers:
    """What the society says, asked in this way."""
    plan = asked(way, prompts, seed)
    texts = [[""] * EACH for _ in plan]
    for writer in WRITERS:
        places = [(p, a) for p, row in enumerate(plan) for a, (who, _) in enumerate(row) if who == writer]
        for (p, a), reply in zip(places, ask(Society(writer), [plan[p][a][1] for p, a in places]), strict=True):
            texts[p][a] = reply.text or ""
    return answers(way.name, texts, [[who for who, _ in row] for row in plan], embed, way.published)


def answers(name: str, texts: list[list[str]], writers: list[list[str]], embed: Embed, published: str = "") -> Answers:
    """With their vectors."""
    say(f"{name}: embeds")
    rows = embed([text for row in texts for text in row])
    return Answers(name, texts, writers, rows.reshape(len(texts), len(texts[0]), -1), published)


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(row).replace("nan (nan to nan)", "–").replace("nan", "–") + " |" for row in (head, *rows)]
    return "\n".join([lines[0], "|" + "---|" * len(head), *lines[1:]])


def levels(sets: Sequence[Answers]) -> str:
    """How alike the answers of each way are."""
    rows = []
    for one in sets:
        cosine = f.alike(one.cosine)
        figures = [over(cosine), over(cosine, np.median), over(f.vendi(one.cosine)), over(f.alike(one.properties))]
        figures += [over(f.distinct(one.texts)), over(f.alike(one.gap))]
        rows.append([one.name, one.published, *map(cell, figures)])
    head = ["", "FSPO: mean / median", "cosine, mean over prompts", "median", f"Vendi, of {EACH}", "properties", "3-grams", "\\|Δu\\|"]
    return markdown(head, rows)


def steps(sets: Sequence[Answers]) -> str:
    """What each step changes on the same prompts."""
    rows = []
    for name, before, after in STEPS:
        one, other = sets[before], sets[after]
        figures = [
            f.alike(other.cosine) - f.alike(one.cosine),
            f.vendi(other.cosine) - f.vendi(one.cosine),
            f.alike(other.properties) - f.alike(one.properties),
            f.distinct(other.texts) - f.distinct(one.texts),
            f.alike(other.gap) - f.alike(one.gap),
        ]
        rows.append([name, *(cell(over(each)) for each in figures)])
    return markdown(["step", "cosine", "Vendi", "properties", "3-grams", "\\|Δu\\|"], rows)


def filters(sets: Sequence[Answers]) -> str:
    """What near-duplicate removal leaves, and the most different four beside four by chance."""
    rows = []
    for one in sets:
        left = np.array([len(mine) for mine in one.unrepeated], dtype=np.float64)
        chance, worth = (part.mean(axis=1) for part in f.of_subsets(one.cosine, KEPT))
        picked, kept_worth = f.alike(one.cosine, one.chosen), f.vendi_of(one.cosine, one.chosen)
        gap, kept_gap = f.alike(one.gap), f.alike(one.gap, one.chosen)
        figures = [left, f.alike(one.cosine, one.unrepeated), chance, picked, worth, kept_worth, kept_worth - worth, gap, kept_gap]
        rows.append([one.name, *(digits(over(each).value) for each in figures[:6]), cell(over(figures[6]))])
        rows[-1] += [digits(over(each).value) for each in figures[7:]] + [cell(over(kept_gap - gap))]
    head = ["", f"of {EACH}, left at {NEAR}", "their cosine", f"cosine: {KEPT} by chance", "most different", f"Vendi: {KEPT} by chance"]
    head += ["most different", "gain", f"\\|Δu\\|: {KEPT} by chance", "most different", "gain"]
    return markdown(head, rows)


def favoured(one: Answers) -> str:
    """Whose answers are among the most different, and how long they are."""
    who = [one.writers[p][a] for p, mine in enumerate(one.chosen) for a in mine]
    shares = {name: who.count(name) / len(who) for name in sorted(set(who))}
    even = {name: sum(row.count(name) for row in one.writers) / sum(map(len, one.writers)) for name in shares}
    said = ", ".join(f"{name} {digits(share)} ({digits(even[name])})" for name, share in sorted(shares.items(), key=lambda item: -item[1]))
    words = np.median([len(one.texts[p][a].split()) for p, mine in enumerate(one.chosen) for a in mine])
    every = np.median([len(text.split()) for row in one.texts for text in row])
    return f"{one.name}: of the most different {KEPT}, in brackets of all: {said}; median words {words:.0f} ({every:.0f})."


def growth(sets: Sequence[Answers]) -> str:
    """Means over all subsets of so many answers; in brackets the least and the most diverse subset of places."""
    rows = []
    for count in range(1, EACH + 1):
        row = [str(count)]
        for one in sets:
            cosine, worth = (part.mean(axis=0) for part in f.of_subsets(one.cosine, count))
            row.append(f"{digits(worth.mean())} ({digits(worth.min())} to {digits(worth.max())})")
            if one is sets[-1]:
                row.append("" if count == 1 else f"{digits(cosine.mean())} ({digits(cosine.min())} to {digits(cosine.max())})")
        rows.append(row)
    return markdown(["answers", *(f"Vendi: {one.name}" for one in sets), f"cosine: {sets[-1].name}"], rows)


def models(one: Answers) -> str:
    """Each model with each other on the same prompts, and on different ones."""
    names = one.writers[0]
    table = one.cosine.mean(axis=0)
    own, others = f.across(one.rows)
    rows = []
    for a, name in enumerate(names):
        cells = ["–" if a == b else digits(float(table[a, b])) for b in range(len(names))]
        mean = float((table[a].sum() - table[a, a]) / (len(names) - 1))
        rows.append([f"{a + 1} {name}", *cells, digits(mean), digits(float(own[a])), digits(float(others[a]))])
    head = ["", *(str(a + 1) for a in range(len(names))), "mean", "other prompts, itself", "other prompts, the others"]
    return markdown(head, rows)


def closeness(one: Answers, prompts: Grid) -> str:
    """Answers to two prompts, by how alike these are: what it adds that one model gave both, for want of two answers by one model."""
    near = f.between(prompts[None])[0]
    own, others = f.everywhere(one.rows)
    apart, rows = ~np.eye(len(near), dtype=bool), []
    for low, high in ((-1.0, 0.2), (0.2, 0.4), (0.4, 0.6), (0.6, 1.01)):
        inside = apart & (near >= low) & (near < high)
        if not inside.any():
            continue

        def gain(p: Ints, inside: NDArray[np.bool_] = inside) -> float:
            some = np.ix_(p, p)
            return float((own - others)[some][inside[some]].mean()) if inside[some].any() else float("nan")

        figures = [digits(float(each[inside].mean())) for each in (own, others)]
        rows.append([f"{max(low, 0):.1f} to {min(high, 1):.1f}", str(inside.sum() // 2), *figures, cell(over_prompts(gain, len(near)))])
    return markdown(["cosine of the prompts", "pairs of prompts", "the same model", "two models", "difference"], rows)


def thresholds(sets: Sequence[Answers]) -> str:
    """Answers that would go at a threshold."""
    at = (0.99, 0.97, 0.95, 0.9, 0.85, 0.8)
    rows = [[one.name, *(digits(1 - sum(map(len, f.not_near(one.rows, each))) / one.rows[..., 0].size) for each in at)] for one in sets]
    return markdown(["share of answers that repeat another, at", *map(str, at)], rows)


def parted(embed: Embed) -> str:
    """Cosines of PAIRS."""
    found = [f.between(embed(list(pair))[None])[0, 0, 1] for pair in PAIRS]
    return markdown(["cosine", "one", "other"], [[digits(float(each)), *pair] for each, pair in zip(found, PAIRS, strict=True)])


def nearest(name: str, rows: Grid) -> str:
    """How near the nearest two of many texts are."""
    cosine = f.between(rows[None])[0] - 2 * np.eye(len(rows))
    best = cosine.max(axis=1)
    two, middle = digits(float(best.max())), digits(float(np.median(best)))
    return f"{len(rows)} {name}: the nearest two at {two}, the nearest to the median one at {middle}."


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--real", nargs=2, type=Path, metavar=("ANSWERS", "PROMPTS"))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--prompts", type=int, default=120, help="shipped prompts that the society answers")
    parser.add_argument("--answered", type=int, default=80, help="prompts of the real answers that it answers too")
    parser.add_argument("--vectors", type=Path, default=Path("data/embeddings"), help="where vectors are kept")
    given = parser.parse_args()
    embedder = open_embedder(LocalEmbedder(engine="sentence-transformers"))
    store = Vectors(given.vectors, embedder.identity)

    def embed(texts: list[str]) -> Grid:
        return on_grid(store.fill(texts, embedder.stream).vectors)

    seeds = [json.loads(line)["text"] for line in SEEDS.read_text(encoding="utf-8").splitlines()]
    drawn = [seeds[place] for place in np.random.default_rng(given.seed).permutation(len(seeds))][: given.prompts]
    sets = [written(way, drawn, given.seed, embed) for way in WAYS]
    parts = [f"{embedder.identity}; {len(drawn)} prompts, {EACH} answers each.", levels(sets), steps(sets), filters(sets)]
    parts += [favoured(sets[-1]), thresholds(sets), parted(embed), nearest("shipped prompts", embed(seeds))]
    parts += [nearest("descriptions of the society", embed(plant("fspo-like", 200, given.seed).descriptions))]
    if given.real:
        rows, prompts = ([json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] for path in given.real)
        texts, known = real(rows, prompts, given.seed)
        names = sorted({row["model"] for row in rows})
        every = answers(f"{len(names)} real models", known, [names] * len(known), embed)
        some = [written(WAYS[place], texts[: given.answered], given.seed, embed) for place in (2, 6, 8)]
        few = every.first(given.answered)
        parts += [f"Prompts of the real answers: {len(texts)}, of which the society answered {len(few.texts)}."]
        parts += [levels([*some, few, every]), filters([*some, few, every]), favoured(every)]
        parts += [growth([*some, few]), models(every), closeness(every, embed(texts)), thresholds([*some, every])]
        parts += [nearest("prompts of the real answers", embed(texts))]
    print("\n\n".join(parts))
    say("done")


if __name__ == "__main__":
    main()
