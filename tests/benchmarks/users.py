"""Users made of weights: how fast they decide, whether they are what was asked for, and how much a population of them differs. Markdown.

    python -m tests.benchmarks.users                                     speed, spread of weights, noise, conflict and flips: a minute
    python -m tests.benchmarks.users --stage                             and the stage with its files, at 1,000 x 10,000
    python -m tests.benchmarks.users --real ANSWERS PROMPTS              and the figures of PersonalLLM on real answers of several models

ANSWERS has the columns prompt_id, model and text (one answer of each model to each prompt), PROMPTS prompt_id and text; both .jsonl.
The intervals are of a bootstrap over users and prompts. Scores are standardised on the prompts of the split `train`, by the one function.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import polars as pl

from prefloom.flows.dataset import heterogeneity as h
from prefloom.flows.dataset import heterogeneity_pairs as hp
from prefloom.flows.dataset import standards, tables
from prefloom.flows.dataset.heterogeneity import Estimate, Floats, Ints
from prefloom.flows.dataset.resolve import resolve
from prefloom.flows.engines import scorers
from prefloom.flows.steps.ensembles import dirichlet, in_millionths
from prefloom.flows.steps.utilities import BLOCK, MODEL, choose, decided, log_odds, weighing
from prefloom.schemas.comparison import Comparison
from prefloom.schemas.ids import content_id, keys
from prefloom.schemas.label import Judgement
from prefloom.schemas.rewards import ScorerReward
from prefloom.schemas.score import Score, Standard
from prefloom.schemas.splits import split_of
from tests.benchmarks.panel import PERSONALLLM, cell, digits
from tests.helpers import run_stage, table

USERS, COMPARISONS, REWARDS = 1000, 10_000, 10
EFFECTIVE = {0.01: 1.14, 0.05: 1.61, 0.1: 2.09, 0.5: 4.36, 1.0: 5.77}  # E[1 / sum w²] for ten rewards


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def ids(kind: str, count: int) -> list[str]:
    return sorted(content_id(kind, str(place)) for place in range(count))


def speed() -> list[str]:
    """Everybody decides about everything, from scores to choices."""
    draw = np.random.default_rng(1)
    weights = in_millionths(dirichlet(0.05, REWARDS, USERS, 1)) / 1e6
    steps = draw.integers(-40_000, 40_000, (8 * COMPARISONS // 28, REWARDS)).astype(np.float64)
    first, second = draw.integers(0, len(steps), (2, COMPARISONS))
    people, pairs = keys(ids("persona", USERS))[:, None], keys(ids("comparison", COMPARISONS))[None, :]
    zero = np.zeros((USERS, 1))
    rows = []
    for what, noise, flips in (("the better answer", 0.0, 0.0), ("noise .5 and flips .1", 0.5, 0.1)):
        began, used = time.perf_counter(), time.process_time()
        for start in range(0, COMPARISONS, BLOCK):  # as the stage does
            some = slice(start, start + BLOCK)
            choose(log_odds(weights, steps, first[some], second[some]), zero + noise, zero + flips, people, pairs[:, some], 1)
        rows.append(f"| {what} | {time.perf_counter() - began:.2f} | {time.process_time() - used:.2f} |")
    head = [
        f"{USERS:,} users x {COMPARISONS:,} comparisons x {REWARDS} rewards",
        "",
        "| choices | seconds | of processors |",
        "|---|---|---|",
    ]
    return [*head, *rows]


def stage() -> list[str]:
    """The same as rows of Judgement in files, in 8 shards one after the other."""
    weights = in_millionths(dirichlet(0.05, REWARDS, USERS, 1)) / 1e6
    names = [f"r{k}" for k in range(REWARDS)]
    who = ids("persona", USERS)
    people = pl.DataFrame(
        {
            "persona_id": who,
            "kind": "ensemble",
            "weights": [[{"name": n, "value": float(v)} for n, v in zip(names, row, strict=True)] for row in weights],
            "noise": 0.0,
            "flips": 0.0,
        }
    )
    draw, found = np.random.default_rng(1), 0
    size = 0
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        from prefloom.flows.dataset.store import Store

        store = Store(folder)
        for shard in range(8):
            answers = sorted(content_id("answer", str(shard), k) for k in range(400))
            scores = standards.Standardised(
                names, answers, draw.integers(-40_000, 40_000, (400, REWARDS)).astype(float), np.ones((400, REWARDS), dtype=np.bool_)
            )
            pair = draw.integers(0, 400, (COMPARISONS // 8, 2))
            pair[:, 1] += pair[:, 0] == pair[:, 1]
            rows = {name: [None] * len(pair) for name in Comparison.model_fields} | {
                "comparison_id": sorted(content_id("comparison", str(shard), k) for k in range(len(pair))),
                "prompt_id": "0" * 16,
                "first_id": [answers[k % 400] for k in pair[:, 0]],
                "second_id": [answers[k % 400] for k in pair[:, 1]],
                "persona_ids": [who] * len(pair),
            }
            frame, _ = decided(pl.DataFrame(rows), weighing(people, scores), scores, 1)
            tables.write(store, f"judgements/part-{shard:05d}.parquet", Judgement, frame, {})
            found, size = found + frame.height, size + (store.size(f"judgements/part-{shard:05d}.parquet") or 0)
    return [f"As rows in Parquet files: {found:,} judgements by `{MODEL}` in {time.perf_counter() - began:.1f} s, {size / 1e6:.0f} MB."]


def spread() -> list[str]:
    """F8: the number of rewards that matter, at 100,000 draws."""
    rows = ["| alpha | E[1 / sum w²], drawn | should be | off by |", "|---|---|---|---|"]
    for alpha, due in EFFECTIVE.items():
        found = float((1 / (dirichlet(alpha, 10, 100_000, 1) ** 2).sum(axis=1)).mean())
        rows.append(f"| {alpha:g} | {found:.3f} | {due} | {found / due - 1:+.1%} |")
    return rows


def noise() -> list[str]:
    """F9: how often a noisy choice is the worse answer, by how much worse it is."""
    draw = np.random.default_rng(1)
    gaps = draw.normal(0, 1, 500_000)
    numbers = np.arange(len(gaps), dtype=np.uint64)
    said = choose(gaps, np.full(len(gaps), 0.5), np.zeros(len(gaps)), numbers, numbers, 1)
    off = []
    for some in np.array_split(np.argsort(np.abs(gaps)), 10):
        turned = (np.sign(said[some]) != np.sign(gaps[some])).mean()
        off.append(float(turned - (1 / (1 + np.exp(np.abs(gaps[some]) / 0.5))).mean()))
    worst = f"by at most {max(map(abs, off)):.2%}"
    return [f"Noise .5, 500,000 choices: in deciles of the gap the share of worse answers differs from Bradley and Terry's {worst}."]


def conflict() -> list[str]:
    """The recipe `attributes` with other shares of conflict, and what came out: flips from labels, without the code that drew them."""
    recipe = resolve("attributes").recipe.model_dump(mode="json", exclude_none=True)
    rows = ["| conflict asked | found | comparisons | flips asked | found | 95 % of a binomial | labels |", "|---|---|---|---|---|---|---|"]
    for share, flips in ((0.5, 0.0), (0.75, 0.05), (0.8, 0.1), (1.0, 0.2)):
        source = recipe["personas"][0] | {"conflict": share, "flips": flips}
        given = recipe | {"personas": [source], "shards": {"prompts": 4, "personas": 2}}
        with tempfile.TemporaryDirectory() as folder:
            run = run_stage(Path(folder), "labels", **given)
            people, labels, pairs = (table(run, name) for name in ("personas", "labels", "comparisons"))
            scored = tables.read(run.store, "scores/part-*.parquet", Score).join(
                tables.read(run.store, "standards/part-*.parquet", Standard), on="reward"
            )
        z = scored.with_columns(((pl.col("score") - pl.col("mean")) / pl.col("sd") * pl.col("sign")).alias("z"))
        of = {(answer, reward): value for answer, reward, value in z.select("candidate_id", "reward", "z").iter_rows()}
        types = source["types"]
        signs = np.array(
            [
                [np.sign(sum(w * (of[a, r] - of[b, r]) for r, w in weights.items())) for weights in types.values()]
                for a, b in pairs.select("first_id", "second_id").iter_rows()
            ]
        )
        clash = float((signs != signs[:, :1]).any(axis=1).mean())
        kind = {who: traits[0]["value"] for who, traits in people.select("persona_id", "traits").iter_rows()}
        place, column = {c: k for k, c in enumerate(pairs["comparison_id"])}, {name: k for k, name in enumerate(types)}
        due = np.array([signs[place[c], column[kind[p]]] for p, c in labels.select("persona_id", "comparison_id").iter_rows()])
        turned, n = float((np.sign(labels["margin"].to_numpy()) != due).mean()), labels.height
        half = 1.96 * float(np.sqrt(flips * (1 - flips) / n))
        inside = f"{max(0, flips - half):.4f} to {flips + half:.4f}"
        rows.append(f"| {share:g} | {clash:.4f} | {pairs.height:,} | {flips:g} | {turned:.4f} | {inside} | {n:,} |")
    return rows


def rewards_of(
    answers: pl.DataFrame, prompts: pl.DataFrame, rewards: dict[str, ScorerReward]
) -> tuple[standards.Standardised, list[Standard]]:
    """Standardised scores of real answers."""
    texts = answers["text"].to_list()
    sets = {name: scorers.score(name, texts) for name in sorted({one.set for one in rewards.values()})}
    rows = pl.concat(
        answers.select("candidate_id", "prompt_id").with_columns(
            pl.lit(name).alias("reward"),
            pl.Series("score", sets[one.set][:, scorers.PROPERTIES.index(one.property)].astype(np.float64).round(4)),
        )
        for name, one in rewards.items()
    )
    train = prompts.filter(pl.Series(split_of(prompts["prompt_id"].to_list(), 0.1, 0.1)) == "train")["prompt_id"]
    fitted = standards.fit(rows, train, {name: one.sign for name, one in rewards.items()})
    return standards.standardised(rows, tables.frame(Standard, fitted)), fitted


def population(scores: standards.Standardised, order: Sequence[Sequence[str]], alpha: float, users: int) -> Floats:
    """Utilities [user, prompt, answer] in standard deviations."""
    place = {name: row for row, name in enumerate(scores.ids)}
    rows = np.array([[place[name] for name in some] for some in order])
    weights = in_millionths(dirichlet(alpha, len(scores.rewards), users, 1, "ensemble/0"))
    return np.asarray((weights @ scores.steps.T)[:, rows] * 1e-10)


def figures(utilities: Floats, resamples: int) -> dict[str, Estimate | str]:
    """The measures of PersonalLLM that are of best answers, and M9."""
    users, prompts, answers = utilities.shape
    choices = utilities.argmax(axis=2)
    first, second = np.array(hp.pairs(answers)).T
    ahead = np.sign(utilities[..., first] - utilities[..., second]).astype(np.int8)
    rows: dict[str, Estimate | str] = {}

    def row(name: str, metric: Callable[[Ints, Ints], float], ceiling: float | None = None) -> None:
        rows[name] = h.interval(metric, users, prompts, ceiling, resamples)
        say(f"  {name}: {cell(rows[name])}")

    def c(u: Ints, p: Ints) -> Ints:
        return choices[np.ix_(u, p)]

    for share in (0.5, 0.75, 0.95):
        row(f"M1 rank of {share:.2f}".replace(" 0.", " ."), lambda u, p, s=share: h.top_vote_rank(c(u, p), answers, s))
    row("M2 winners with 5 % or more", lambda u, p: float(h.winners(c(u, p), answers, 0.05).mean()), answers)
    row("M2 prompts with 5 or more winners", lambda u, p: float((h.winners(c(u, p), answers) >= 5).mean()), 1.0)
    row("M4 entropy, nats", lambda u, p: float(h.entropies(c(u, p), answers).mean()), float(np.log(answers)))
    row("M4 entropy / ln K", lambda u, p: float(h.entropies(c(u, p), answers).mean() / np.log(answers)), 1.0)
    row("M5 pairwise agreement", lambda u, p: h.pairwise_agreement(c(u, p), u))
    row("M6 nearest twin", lambda u, p: h.nearest_twin(c(u, p), u), 1.0)
    row("M6 - M5 gap", lambda u, p: h.twin_gap(c(u, p), u), 1.0)
    row("M8 alpha", lambda u, p: h.alpha(c(u, p), u))
    row("M9 pairs contested at .10", lambda u, p: hp.contested(ahead[np.ix_(u, p)], 0.1), 1.0)
    row("M9 pairs contested at .30", lambda u, p: hp.contested(ahead[np.ix_(u, p)], 0.3), 1.0)
    row("M17 headroom, z units", lambda u, p: hp.headroom(utilities[np.ix_(u, p)]), np.inf)
    return rows


def real(answers_file: Path, prompts_file: Path, users: int, resamples: int) -> list[str]:
    """The panel on real answers."""
    prompts = pl.read_ndjson(prompts_file).select(pl.col("prompt_id").cast(pl.String), "text").rename({"prompt_id": "named"})
    prompts = prompts.with_columns(pl.Series("prompt_id", [content_id("prompt", text) for text in prompts["text"]])).unique(
        "prompt_id", maintain_order=True
    )
    rows = [json.loads(line) for line in answers_file.read_text(encoding="utf-8").splitlines()]
    answers = pl.DataFrame([{"named": str(row["prompt_id"]), "model": row["model"], "text": row["text"]} for row in rows])
    answers = answers.join(prompts.select("named", "prompt_id"), on="named").with_row_index("n")
    answers = answers.with_columns(pl.Series("candidate_id", [f"{n:016x}" for n in answers["n"]]))
    models = answers["model"].unique().sort().to_list()
    by = {(p, m): name for p, m, name in answers.select("prompt_id", "model", "candidate_id").iter_rows()}
    whole = [p for p in prompts["prompt_id"] if all((p, m) in by for m in models)]
    order = [[by[p, m] for m in models] for p in whole]
    ten = {name: one for name, one in (resolve("personalllm").recipe.rewards or {}).items() if isinstance(one, ScorerReward)}
    twenty = {name: ScorerReward(engine="scorer", property=name) for name in scorers.PROPERTIES}
    columns: dict[str, dict[str, Estimate | str]] = {}
    for name, rewards, alpha, draws in (
        (f"{len(ten)} scorers, alpha .05", ten, 0.05, resamples),
        ("alpha .01", ten, 0.01, 2),
        ("alpha .1", ten, 0.1, 2),
        ("20 scorers, alpha .05", twenty, 0.05, 2),
    ):
        say(name)
        scores, _ = rewards_of(answers, prompts, rewards)
        found = figures(population(scores, order, alpha, users), draws)
        columns[name] = found if draws > 2 else {key: digits(one.value) for key, one in found.items() if isinstance(one, Estimate)}
    lines = ["| | " + " | ".join(columns) + " | PersonalLLM alpha .05 | PersonalLLM personas |", "|---" * (len(columns) + 3) + "|"]
    for key in next(iter(columns.values())):
        published = PERSONALLLM.get(key, ("", ""))
        lines.append(f"| {key} | " + " | ".join([*(cell(found.get(key)) for found in columns.values()), *published]) + " |")
    about = f"{users:,} users, {len(whole)} prompts, {len(models)} real answers each; 95 % over users and prompts, {resamples} draws."
    return [about, "", *lines]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--stage", action="store_true")
    parser.add_argument("--real", nargs=2, type=Path, metavar=("ANSWERS", "PROMPTS"))
    parser.add_argument("--users", type=int, default=USERS)
    parser.add_argument("--resamples", type=int, default=100)
    given = parser.parse_args()
    if given.real:
        print("\n".join(["## Real answers", "", *real(*given.real, given.users, given.resamples)]))
        return
    for name, section in (("Speed", speed), ("Weights (F8)", spread), ("Noise (F9)", noise), ("Conflict and flips", conflict)):
        print("\n".join([f"## {name}", "", *section(), ""]), flush=True)
    if given.stage:
        print("\n".join(["## The stage with its files", "", *stage()]), flush=True)


if __name__ == "__main__":
    main()
