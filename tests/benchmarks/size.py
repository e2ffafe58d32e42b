"""A dataset at size: seconds, memory and bytes of a build of 100,000 and of 1,000,000 labels, and whether one that is killed ends the same.

    python -m tests.benchmarks.size                       # 100k and 1m: builds, then validate, plan, show, report and audit on them
    python -m tests.benchmarks.size --labels 1m --kill    # also builds it again, killed three times by SIGKILL, and compares every file

Prints Markdown. Memory is the sum over the process and all its children, as /proc has it, ten times a second: pages that they share count
twice. A build has Prefect's server as its child, some 200 MiB. Nothing here is asserted but that the bytes are equal.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

RECIPE = "million"
SIZES = {
    "1k": ["name=thousandth", "personas.0.count=6", "shards.prompts=2", "shards.personas=2"],  # to try this page out
    "100k": ["name=tenth", "personas.0.count=520", "shards.prompts=8", "shards.personas=8"],
    "1m": [],
}
PAGE = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096


@dataclass
class Ran:
    """One command: its output, seconds, and the most memory that it had in MiB, alone and with its children."""

    out: Any
    seconds: float
    alone: int
    tree: int
    code: int


def run(arguments: list[str], home: Path, kill_when: Callable[[], bool] = lambda: False) -> Ran:
    """Run `prefloom` with --json; SIGKILL once `kill_when` holds."""
    environment = {k: v for k, v in os.environ.items() if k != "PREFECT_API_URL"} | {"PREFECT_HOME": str(home)}
    began, alone, tree = time.perf_counter(), 0, 0
    with tempfile.TemporaryFile() as out:
        process = subprocess.Popen([sys.executable, "-m", "prefloom.flows.cli", *arguments, "--json"], env=environment, stdout=out)
        while process.poll() is None:
            sizes = [_resident(pid) for pid in _family(process.pid)]
            alone, tree = max(alone, sizes[0]), max(tree, sum(sizes))
            if kill_when():
                process.kill()
            time.sleep(0.1)
        out.seek(0)
        text = out.read().decode()
    if process.returncode not in (0, -9):
        raise SystemExit(f"{' '.join(arguments)}: exit code {process.returncode}\n{text[-2000:]}")
    return Ran(json.loads(text) if process.returncode == 0 else None, time.perf_counter() - began, alone, tree, process.returncode)


def _family(root: int) -> list[int]:
    children: dict[int, list[int]] = defaultdict(list)
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            children[int(stat.read_text().rpartition(")")[2].split()[1])].append(int(stat.parent.name))
        except OSError:
            continue  # it has ended
    family = [root]
    for pid in family:
        family.extend(children[pid])
    return family


def _resident(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE >> 20
    except OSError:
        return 0


def build(size: str, root: Path, kill_when: Callable[[], bool] = lambda: False) -> Ran:
    settings = [part for override in SIZES[size] for part in ("--set", override)]
    return run(["build", RECIPE, *settings, "--out", str(root)], root / "prefect", kill_when)


def folder_of(size: str, root: Path) -> Path:
    (folder,) = (root / "runs").glob(f"{(SIZES[size] or ['name=' + RECIPE])[0].removeprefix('name=')}-*")
    return folder


def tell_build(size: str, done: Ran, folder: Path, root: Path) -> dict[str, float]:
    """The tables of one build; seconds by stage."""
    labels, stages = done.out["labels"], done.out["stages"]
    print(f"\n### {labels:,} labels\n")
    outside = done.seconds - done.out["work_seconds"]
    print(f"{done.seconds:,.0f} s in all, {outside:,.0f} of them outside the stages: starting, Prefect, hashing, the report.")
    print(f"At most {done.tree:,} MiB, {done.alone:,} of them in the build itself.\n")
    print("| stage | rows | seconds | rows/s |\n|---|---|---|---|")
    seconds = {name: report["ended"] - report["started"] for name, report in stages.items()}
    for name, report in stages.items():
        print(f"| {name} | {report['kept']:,} | {seconds[name]:.1f} | {report['kept'] / max(seconds[name], 1e-9):,.0f} |")
    manifest = json.loads((folder / "manifest.json").read_text())
    sizes: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0])
    for entry in manifest["stages"].values():
        for file in entry["files"]:
            table = "/".join(file["path"].split("/")[: 2 if file["path"].startswith("exports/") else 1])
            sizes[table] = [had + more for had, more in zip(sizes[table], (file["rows"], file["bytes"], 1), strict=True)]
    journal = [path.stat().st_size for path in (root / "journal").rglob("*.parquet")]
    sizes["all of it"] = [sum(column) for column in zip(*sizes.values(), strict=True)]
    print("\n| table | rows | bytes | bytes per label | files |\n|---|---|---|---|---|")
    for name, (rows, size_, files) in sizes.items():
        print(f"| {name} | {rows:,} | {size_:,} | {size_ / labels:.1f} | {files} |")
    print(f"| journal (beside it) | | {sum(journal):,} | {sum(journal) / labels:.1f} | {len(journal)} |")
    return seconds | {"in all": done.seconds}


def tell_commands(size: str, folder: Path, root: Path) -> None:
    settings = [part for override in SIZES[size] for part in ("--set", override)]
    commands = {
        "validate": ["validate", str(folder)],
        "plan (all is journaled)": ["plan", RECIPE, *settings, "--out", str(root)],
        "build (nothing to do)": ["build", RECIPE, *settings, "--out", str(root)],
        "show": ["show", str(folder)],
        "report": ["report", str(folder)],
        "audit": ["audit", str(folder)],
    }
    print("\n| command | seconds | MiB |\n|---|---|---|")
    for name, arguments in commands.items():
        done = run(arguments, root / "prefect")
        print(f"| {name} | {done.seconds:.1f} | {done.tree:,} |", flush=True)


def killed(size: str, root: Path, whole: Path) -> None:
    """Build in an empty root, killed in three places, and compare with the dataset that was built in one go."""
    shutil.rmtree(root, ignore_errors=True)

    def there(pattern: str, count: int) -> Callable[[], bool]:
        return lambda: sum(1 for _ in (root / "runs").glob(f"*/{pattern}")) >= count

    places = {"judgements": "judgements/part-*", "labels (in the shuffle)": "labels/shuffle-*", "exports": "exports/*/*/part-*"}
    print("\n| killed in | after, s | files that stayed |\n|---|---|---|")
    for name, pattern in places.items():
        done = build(size, root, there(pattern, 2))
        stayed = sum(1 for _ in (root / "runs").glob(f"*/{pattern}.*"))
        print(f"| {name} | {done.seconds:.0f} | {stayed} of the stage |" if done.code else f"| {name} | was too quick | |", flush=True)
    done = build(size, root)
    names = [{path.relative_to(folder) for path in folder.rglob("*.parquet")} for folder in (whole, folder_of(size, root))]
    differ = [str(name) for name in names[0] & names[1] if (whole / name).read_bytes() != (folder_of(size, root) / name).read_bytes()]
    manifests = [(folder / "manifest.json").read_bytes() for folder in (whole, folder_of(size, root))]
    same = names[0] == names[1] and not differ and manifests[0] == manifests[1]
    verdict = "every byte equal" if same else f"NOT equal: {differ}"
    print(f"\nThe last build took {done.seconds:.0f} s; {len(names[0])} files and the manifest, {verdict}.")
    shutil.rmtree(root)
    if not same:
        raise SystemExit(1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--labels", nargs="+", choices=SIZES, default=["100k", "1m"])
    parser.add_argument("--kill", action="store_true", help="also build the largest again, killed three times")
    parser.add_argument("--out", type=Path, help="keep the datasets under this folder")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        root, took = options.out or Path(scratch), []
        print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} before")
        for size in options.labels:
            own = root / size
            done = build(size, own)
            if done.out["status"] == "built":
                took.append(tell_build(size, done, folder_of(size, own), own))
            tell_commands(size, folder_of(size, own), own)
        if len(took) > 1:
            print("\n| stage | times as long |\n|---|---|")
            for name in took[0]:
                print(f"| {name} | {took[-1][name] / max(took[0][name], 1e-9):.1f} |")
        if options.kill:
            size = options.labels[-1]
            killed(size, root / "killed", folder_of(size, root / size))
        print(f"\nload {os.getloadavg()[0]:.1f} after")


if __name__ == "__main__":
    main()
