"""How heterogeneous the simulated society is, beside published figures. Prints Markdown, one table per preset; progress to stderr.

    python -m tests.benchmarks.panel                                       100 users, 50 prompts, 8 answers each: minutes
    python -m tests.benchmarks.panel --users 20 --prompts 10 --profile     a small one, and where its time goes

Four populations read every pair of the 8 answers to every prompt, in both orders and in two templates; a user's choice is the answer with
the largest sum of log-odds over its 7 pairs.

no persona        the judge is told of nobody, so that all users are one
shuffled          a user reads every prompt as another user who is drawn anew for it: votes per prompt stay what they are, and all that
                  makes one user the same from prompt to prompt goes. For M11 the other user is drawn anew for each template too
persona judge     the judge reads the user's description
truth             the planted utilities, without a reader
"""

import argparse
import cProfile
import json
import pstats
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from prefloom.flows.dataset import heterogeneity as h
from prefloom.flows.dataset import heterogeneity_pairs as hp
from prefloom.flows.dataset.heterogeneity import Estimate, Floats, Ints
from prefloom.flows.engines.protocol import Engine, Reply, Request
from prefloom.flows.steps.judgements import LETTERS, read_letters
from prefloom.prompts import load

SEEDS = Path(__file__).parents[2] / "data" / "seeds" / "prompts.jsonl"
PRESETS = ("fspo-like", "personalllm-like")
# The answers: 4 characters x 2 views x 1 sample. An answer has the same number on every prompt, as M8 wants it.
CHARACTERS = ("terse", "friendly", "scholar", "coach")
VIEWS: tuple[str | None, ...] = ("a numbered list of steps, formal", "flowing prose with examples and some humour")
SAMPLES = 1
ANSWERS = len(CHARACTERS) * len(VIEWS) * SAMPLES
JUDGE, PHI = "good", 0.65
TEMPLATES = ("judge/choice", "judge/reader")  # paraphrases of judge/pairwise: the replicates
GENERIC = "judge/generic"

# What PersonalLLM (arXiv 2409.20296; 8 answers, 1,000 prompts) prints for 1,000 users of reward ensembles with Dirichlet parameter .05 and
# for 500 personas put to one reward model. "5 or more winners" is its histogram with the bars labelled by what they count.
PERSONALLLM = {
    "M1 rank of .50": ("42.6", "14.2"),
    "M1 rank of .75": ("89.6", "55.8"),
    "M1 rank of .95": ("99.8", "85.2"),
    "M2 prompts with 5 or more winners": (".778", ".298"),
    "M4 entropy, nats": ("1.180", ""),
    "M4 entropy / ln K": (".568", ""),
    "M5 pairwise agreement": (".412", ".612"),
    "M6 nearest twin": (".933", ".687"),
    "M6 - M5 gap": (".52", ".08"),
}
FSPO = "FSPO (arXiv 2502.19312, figure 5): mean pairwise disagreement of 5 users .53, from .32 to .72."


@dataclass(frozen=True)
class Population:
    """What users chose, and what they said of pairs: [user, prompt, pair, replicate]."""

    log_odds: Floats
    choices: Ints
    replicates: Floats | None = None  # the log-odds that M11 is of, where they are others
    shuffled: Ints | None = None  # [replicate, user, prompt] under somebody else's persona, for M16


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def ask(engine: Engine, requests: Sequence[Request]) -> list[Reply]:
    """All replies, in the order of the requests."""
    replies: list[Reply | None] = [None] * len(requests)
    for batch in engine.answer(requests, lambda: False):
        for index, reply in batch:
            replies[index] = reply
    return [reply or Reply(error="the engine gave no reply") for reply in replies]


def write(open_engine: Callable[[str], Engine], prompts: Sequence[str], seed: int) -> list[list[str]]:
    """[prompt][answer] -> text."""
    template = load("candidate/answer")
    columns = []
    for character in CHARACTERS:
        for view in VIEWS:
            for sample in range(SAMPLES):
                requests = [Request(template.render(prompt=prompt, view=view), 512, 0.9, seed + sample) for prompt in prompts]
                columns.append([reply.text or "" for reply in ask(open_engine(character), requests)])
    return [list(row) for row in zip(*columns, strict=True)]


def read(
    engine: Engine, prompts: Sequence[str], answers: Sequence[Sequence[str]], people: Sequence[str | None], templates: Sequence[str]
) -> tuple[Floats, int]:
    """([person, prompt, pair, template] -> log-odds for the pair's first answer, mean of both orders; readings that failed).

    Persons that are None are left out of what the judge is told. Each reading is taken less the template's mean liking for whatever is
    shown first. The two orders cancel it anyway; so one reading stands where its twin failed. What failed in both is everybody's mean.
    """
    pairs = hp.pairs(len(answers[0]))
    raw = np.full((len(people), len(prompts), len(pairs), len(templates), 2), np.nan)
    began = time.perf_counter()
    for p, prompt in enumerate(prompts):
        for t, name in enumerate(templates):
            places, requests = [], []
            for column, pair in enumerate(pairs):
                for order, (first, second) in enumerate((pair, pair[::-1])):
                    for person, description in enumerate(people):
                        told = {} if description is None else {"persona": description}
                        shown = {"prompt": prompt, "first": answers[p][first], "second": answers[p][second]}
                        messages = load(name).render(**shown, **told)
                        requests.append(Request(messages, max_tokens=1, letters=LETTERS, group=f"{p} {column} {order} {name}"))
                        places.append((person, p, column, t, order))
            for place, reply in zip(places, ask(engine, requests), strict=True):
                found = read_letters(reply)
                raw[place] = np.nan if isinstance(found, str) else found[0]
        if (p + 1) % 5 == 0 or p + 1 == len(prompts):
            count = (p + 1) * raw[:, 0].size
            say(f"  {p + 1}/{len(prompts)} prompts, {count:,} readings, {count / (time.perf_counter() - began):,.0f}/s")
    bias = np.nanmean(raw, axis=(0, 1, 2, 4))[:, None]
    both = (raw - bias) * np.array([1.0, -1.0])
    known = ~np.isnan(both)
    mean = np.where(known, both, 0.0).sum(axis=-1) / np.maximum(known.sum(axis=-1), 1)
    asked = known.any(axis=-1)
    everybody = np.where(asked, mean, 0.0).sum(axis=0) / np.maximum(asked.sum(axis=0), 1)
    return np.where(asked, mean, everybody), int((~known).sum())


def choose(log_odds: Floats) -> Ints:
    """[…, pair] -> the answer with the largest sum of log-odds."""
    return np.asarray(hp.borda(log_odds, ANSWERS).argmax(axis=-1), dtype=np.int64)


def shuffle(log_odds: Floats, seed: int, each_replicate: bool) -> Floats:
    """Every user reads each prompt (and in each template, if so asked) as another user, never as itself.

    An engine sees rendered messages only, so these are the very replies that it would give if it were asked again.
    """
    users, prompts, _, replicates = log_odds.shape
    draw = np.random.default_rng(seed)
    found = np.empty_like(log_odds)
    for p in range(prompts):
        for r in range(replicates):
            if r == 0 or each_replicate:
                circle = draw.permutation(users)
                other = np.empty(users, dtype=np.int64)
                other[circle] = np.roll(circle, 1)  # the next one in a random circle
            found[:, p, :, r] = log_odds[other, p, :, r]
    return found


def by_replicate(log_odds: Floats) -> Ints:
    """[replicate, user, prompt] choices."""
    return np.stack([choose(log_odds[..., r]) for r in range(log_odds.shape[-1])])


def populations(generic: Floats, judged: Floats, utilities: Floats, seed: int) -> dict[str, Population]:
    """The four, from readings without a persona (of one person), readings with one, and planted utilities [user, prompt, answer]."""
    everybody = np.repeat(generic, len(judged), axis=0)
    others, fresh = shuffle(judged, seed, each_replicate=False), shuffle(judged, seed, each_replicate=True)
    truth = hp.log_odds_of(utilities)[..., None]
    return {
        "no persona": Population(everybody, choose(everybody.mean(axis=-1))),
        "shuffled": Population(others, choose(others.mean(axis=-1)), replicates=fresh),
        "persona judge": Population(judged, choose(judged.mean(axis=-1)), replicates=judged, shuffled=by_replicate(fresh)),
        "truth": Population(truth, utilities.argmax(axis=-1)),
    }


def figures(found: Population, utilities: Floats) -> dict[str, Estimate | str]:
    """All rows of one population's column; those that do not apply to it are absent."""
    users, prompts = found.choices.shape
    log_odds, truth = found.log_odds.mean(axis=-1), utilities.argmax(axis=-1)
    rows: dict[str, Estimate | str] = {}

    def row(name: str, metric: Callable[[Ints, Ints], float], ceiling: float | None = None) -> None:
        rows[name] = h.interval(metric, users, prompts, ceiling)

    def c(u: Ints, p: Ints) -> Ints:
        return found.choices[np.ix_(u, p)]

    def y(u: Ints, p: Ints) -> Floats:
        return log_odds[np.ix_(u, p)]

    row("M1 rank of .50", lambda u, p: h.top_vote_rank(c(u, p), ANSWERS, 0.5))
    row("M1 rank of .75", lambda u, p: h.top_vote_rank(c(u, p), ANSWERS, 0.75))
    row("M1 rank of .95", lambda u, p: h.top_vote_rank(c(u, p), ANSWERS, 0.95))
    row("M2 winners", lambda u, p: float(h.winners(c(u, p), ANSWERS).mean()), ANSWERS)
    row("M2 winners with 5 % or more", lambda u, p: float(h.winners(c(u, p), ANSWERS, 0.05).mean()), ANSWERS)
    row("M2 prompts with 5 or more winners", lambda u, p: float((h.winners(c(u, p), ANSWERS) >= 5).mean()), 1.0)
    row("M4 entropy, nats", lambda u, p: float(h.entropies(c(u, p), ANSWERS).mean()), float(np.log(ANSWERS)))
    row("M4 entropy / ln K", lambda u, p: float(h.entropies(c(u, p), ANSWERS).mean() / np.log(ANSWERS)), 1.0)
    row("M5 pairwise agreement", lambda u, p: h.pairwise_agreement(c(u, p), u))
    row("M6 nearest twin", lambda u, p: h.nearest_twin(c(u, p), u), 1.0)
    row("M6 - M5 gap", lambda u, p: h.twin_gap(c(u, p), u), 1.0)
    row("M8 alpha", lambda u, p: h.alpha(c(u, p), u))
    row("M9 pairs contested at .10", lambda u, p: hp.contested(y(u, p), 0.1), 1.0)
    row("M9 pairs contested at .30", lambda u, p: hp.contested(y(u, p), 0.3), 1.0)
    row("M10 user types", lambda u, p: hp.user_types(y(u, p)), users - 1.0)
    if (readings := found.replicates) is not None:
        row("M11 reliability", lambda u, p: hp.components(readings[np.ix_(u, p)]).reliability)
        parts = hp.components(readings)
        rows["M11 pair / persona / taste / wording / noise"] = " / ".join(
            digits(part) for part in (parts.pair, parts.persona, parts.persona_pair, parts.wording, parts.replicate)
        )
    row("M15 majority of the others", lambda u, p: h.consensus(c(u, p), u))
    row("M15 accuracy against truth", lambda u, p: h.accuracy(c(u, p), truth[np.ix_(u, p)]))
    row("M15 the same, less the majority's", lambda u, p: h.advantage(c(u, p), truth[np.ix_(u, p)], u))
    if (moved := found.shuffled) is not None:
        own = by_replicate(found.log_odds)
        row("M16 persona sensitivity", lambda u, p: h.sensitivity(own[:, u[:, None], p], moved[:, u[:, None], p]))
    row("M17 headroom won, z units", lambda u, p: hp.headroom(utilities[np.ix_(u, p)], c(u, p)), np.inf)
    row("pairwise disagreement", lambda u, p: hp.disagreement(y(u, p), u))
    apart = hp.disagreements(log_odds)
    low, high = np.quantile(apart, [0.05, 0.95])
    rows["pairwise disagreement, 5 % to 95 % of pairs of users"] = f"{digits(low)} to {digits(high)}"
    return rows


def digits(number: float) -> str:
    """0.412 as .412, 42.61 as 42.6."""
    if np.isnan(number):
        return "–"
    text = f"{number:.1f}" if abs(number) >= 10 else f"{number:.2f}" if abs(number) >= 2 else f"{number:.3f}"
    return text.replace("0.", ".", 1) if text.lstrip("-").startswith("0.") else text


def cell(found: Estimate | str | None) -> str:
    if found is None or isinstance(found, str):
        return found or "–"
    return "–" if np.isnan(found.value) else f"{digits(found.value)} ({digits(found.low)} to {digits(found.high)})"


def table(columns: dict[str, dict[str, Estimate | str]]) -> str:
    """Markdown: one row per figure, one column per population, then the published ones."""
    names = max(columns.values(), key=len)
    lines = ["| | " + " | ".join(columns) + " | PersonalLLM α = .05 | PersonalLLM personas |", "|---" * (len(columns) + 3) + "|"]
    for name in names:
        published = PERSONALLLM.get(name, ("", ""))
        lines.append(f"| {name} | " + " | ".join([*(cell(found.get(name)) for found in columns.values()), *published]) + " |")
    return "\n".join(lines)


def panel(preset: str, users: int, prompts: Sequence[str], seed: int) -> str:
    """The table of one preset, with a heading."""
    from prefloom.flows.engines.society import Society
    from prefloom.flows.engines.society.people import plant

    people = plant(preset, users, seed)
    answers = write(Society, prompts, seed)
    utilities = people.utilities([text for row in answers for text in row]).reshape(users, len(prompts), ANSWERS)
    judge = Society(JUDGE, phi=PHI)
    say(f"{preset}: no persona")
    generic, _ = read(judge, prompts, answers, [None], [GENERIC])
    say(f"{preset}: {users} personas")
    judged, failed = read(judge, prompts, answers, people.descriptions, TEMPLATES)
    say(f"{preset}: figures and intervals")
    columns = {name: figures(found, utilities) for name, found in populations(generic, judged, utilities, seed).items()}
    about = (
        f"{users} users in {len(np.unique(people.clusters))} camps, {len(prompts)} prompts, {ANSWERS} answers each; judge at phi {PHI}, "
    )
    about += f"{failed / (2 * judged.size):.2%} of its readings failed. In brackets: 95 % over users and prompts."
    return f"## {preset}\n\n{about}\n\n{table(columns)}\n\n{FSPO}\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--users", type=int, default=100)
    parser.add_argument("--prompts", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--preset", choices=PRESETS, help="only this one")
    parser.add_argument("--profile", action="store_true", help="where the time goes, to stderr")
    given = parser.parse_args()
    texts = [json.loads(line)["text"] for line in SEEDS.read_text(encoding="utf-8").splitlines()]
    drawn = np.random.default_rng(given.seed).permutation(len(texts))[: given.prompts]
    prompts = [texts[i] for i in drawn]
    with cProfile.Profile() as profile:
        if not given.profile:
            profile.disable()
        for preset in [given.preset] if given.preset else PRESETS:
            print(panel(preset, given.users, prompts, given.seed), flush=True)
    if given.profile:
        pstats.Stats(profile, stream=sys.stderr).sort_stats("cumulative").print_stats(30)


if __name__ == "__main__":
    main()
