"""What a dataset of many labels takes, from what a finished one took; and how far such a forecast is from a second, larger one.

    python -m tests.benchmarks.scale data/runs/hundred-…                              the plan for 100,000,000 labels
    python -m tests.benchmarks.scale data/runs/hundred-… --against data/runs/million-…      forecast against measured
    python -m tests.benchmarks.scale RUN --labels 1e8 --personas 100000 --prompts 50000 --computed-tokens-per-second 41000

Bytes and seconds of a table go by its own unit: personas, prompts (also candidates, their vectors and scores) or labels (all the others).
Seconds are work, of all workers together, without what Prefect and the servers need. Prints Markdown; docs/scale.md has the figures.
"""

import argparse
from dataclasses import dataclass

from prefloom.flows.dataset import executions, manifest
from prefloom.flows.dataset.store import Store
from prefloom.schemas.usage import Usage

UNITS = {
    "personas": "personas",
    "prompts": "prompts",
    "drafts": "prompts",
    "candidates": "prompts",
    "embeddings": "prompts",
    "scores": "prompts",
}
SHUFFLED = ("judgements",)  # read by prompt, written by persona
FILE = 256e6  # bytes of a file that the Hub's viewer and a reader's memory both take well


@dataclass(frozen=True)
class Took:
    """What one run took: rows by unit, and bytes and seconds of each stage."""

    rows: dict[str, int]
    bytes: dict[str, int]
    seconds: dict[str, float]
    usage: dict[str, Usage]

    def used(self) -> Usage:
        """Calls and tokens of all stages."""
        return sum(self.usage.values(), Usage())


def took(url: str) -> Took:
    """From the manifest, and from the execution that made each stage."""
    store = Store(url)
    found = manifest.load(store)
    rows = {name: found.stages[name].kept for name in ("personas", "prompts", "labels")}
    sizes = {name: sum(file.bytes for file in stage.files) for name, stage in found.stages.items()}
    seconds = {name: report.ended - report.started for one in executions.read(store) for name, report in one.stages.items()}
    usage = {name: sum(stage.usage.values(), Usage()) for name, stage in found.stages.items()}
    return Took(rows, sizes, seconds, usage)


def scaled(run: Took, rows: dict[str, int]) -> Took:
    """The forecast for other numbers of personas, prompts and labels."""
    by = {unit: rows[unit] / run.rows[unit] for unit in rows}

    def factor(stage: str) -> float:
        return by[UNITS.get(stage, "labels")]

    return Took(
        rows,
        {name: round(size * factor(name)) for name, size in run.bytes.items()},
        {name: seconds * factor(name) for name, seconds in run.seconds.items()},
        {name: _times(usage, factor(name)) for name, usage in run.usage.items()},
    )


def _times(usage: Usage, factor: float) -> Usage:
    counts = (usage.calls, usage.prompt_tokens, usage.completion_tokens)
    return Usage(*(round(count * factor) for count in counts))


def compare(forecast: Took, measured: Took) -> None:
    """Two tables: bytes and seconds by stage, and calls and tokens."""
    print("| stage | MB forecast | MB measured | off by | s forecast | s measured | off by |\n|---|---|---|---|---|---|---|")
    for name, size in measured.bytes.items():
        guess, seconds, clock = forecast.bytes.get(name, 0), forecast.seconds.get(name, 0.0), measured.seconds.get(name, 0.0)
        print(f"| {name} | {guess / 1e6:,.2f} | {size / 1e6:,.2f} | {_off(guess, size)} ", end="")
        print(f"| {seconds:,.1f} | {clock:,.1f} | {_off(seconds, clock)} |")
    whole = [sum(part.values()) for part in (forecast.bytes, measured.bytes, forecast.seconds, measured.seconds)]
    print(
        f"| all | {whole[0] / 1e6:,.1f} | {whole[1] / 1e6:,.1f} | {_off(whole[0], whole[1])} "
        f"| {whole[2]:,.1f} | {whole[3]:,.1f} | {_off(whole[2], whole[3])} |\n"
    )
    for name in ("calls", "prompt_tokens", "completion_tokens"):
        guess, real = getattr(forecast.used(), name), getattr(measured.used(), name)
        print(f"- {name}: forecast {guess:,}, measured {real:,}, off by {_off(guess, real)}")


def _off(guess: float, real: float) -> str:
    return f"{guess / real - 1:+.1%}" if real else "–"


def plan(run: Took, forecast: Took, options: argparse.Namespace) -> None:
    """The written plan's figures."""
    used = forecast.used()
    labels, whole = forecast.rows["labels"], sum(forecast.bytes.values())
    print("| table | bytes a label | GB | files of 256 MB |\n|---|---|---|---|")
    for name, size in forecast.bytes.items():
        print(f"| {name} | {run.bytes[name] / run.rows['labels']:,.1f} | {size / 1e9:,.2f} | {max(1, round(size / FILE)):,} |")
    print(f"| all | {whole / labels:,.1f} | {whole / 1e9:,.1f} | {round(whole / FILE):,} |\n")
    shuffled = sum(forecast.bytes[name] for name in SHUFFLED)
    computed = used.prompt_tokens * (1 - options.reused)
    gpu_hours = (computed / options.computed_tokens_per_second) / 3600
    judged = used.calls / options.calls_per_second / 3600
    work = sum(forecast.seconds.values()) / 3600
    money = used.prompt_tokens / 1e6 * options.dollars_prompt + used.completion_tokens / 1e6 * options.dollars_completion
    print(f"- shuffle: {shuffled / 1e9:,.1f} GB are read by prompt and written by persona, once")
    print(f"- calls: {used.calls:,}; completion tokens {used.completion_tokens:,}")
    print(f"- prompt tokens: {used.prompt_tokens:,}, of them computed {computed:,.0f}")
    dollars = max(gpu_hours, judged) * options.dollars_gpu
    print(f"- GPU-hours, the larger of: {gpu_hours:,.0f} for tokens, {judged:,.0f} for calls; {dollars:,.0f} dollars")
    print(f"- on a hosted API without its cache: {money:,.0f} dollars")
    print(f"- work outside the models: {work:,.1f} core-hours; on {options.cores} cores {work / options.cores:,.1f} hours")


def main() -> None:
    """Parse, forecast, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run")
    parser.add_argument("--against", help="a larger run, built in the same way")
    parser.add_argument("--labels", type=float, default=1e8)
    parser.add_argument("--personas", type=int, default=100_000)
    parser.add_argument("--prompts", type=int, default=50_000)
    parser.add_argument("--reused", type=float, default=0.91, help="share of prompt tokens that a prefix cache has (docs/gpus.md)")
    parser.add_argument(
        "--computed-tokens-per-second", type=float, default=26_000.0, help="of one H100 with gpu_80gb's judge (docs/gpus.md)"
    )
    parser.add_argument("--calls-per-second", type=float, default=190.0, help="of one server's front end (docs/gpus.md)")
    parser.add_argument("--dollars-gpu", type=float, default=2.5, help="an hour of one: an assumption")
    parser.add_argument("--dollars-prompt", type=float, default=0.13, help="of api_ensemble's judge, per million tokens")
    parser.add_argument("--dollars-completion", type=float, default=0.38, help="of api_ensemble's judge, per million tokens")
    parser.add_argument("--cores", type=int, default=64)
    options = parser.parse_args()
    run = took(options.run)
    if options.against:
        measured = took(options.against)
        compare(scaled(run, measured.rows), measured)
        return
    rows = {"personas": options.personas, "prompts": options.prompts, "labels": round(options.labels)}
    plan(run, scaled(run, rows), options)


if __name__ == "__main__":
    main()
