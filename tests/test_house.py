"""The house stands: imports run one way, files stay small, nothing is written twice, the wheel holds what it should."""

import ast
import subprocess
import sys
import zipfile
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("flows", "prompts", "schemas")

# Lower may not import higher; equal ranks are different rooms that may not import each other.
RANKS = {
    "schemas": 0,
    "flows.diversity": 1,
    "flows.dataset": 2,
    "prompts": 3,
    "flows.engines": 4,
    "flows.report": 5,
    "flows.steps": 5,
    "flows.trainers": 5,
    "flows": 6,
}


def room(module: str) -> str:
    """The room of a module below prefloom: 'flows.dataset.store' is in 'flows.dataset', 'flows.build' in 'flows'."""
    return max((name for name in RANKS if module == name or module.startswith(name + ".")), key=len)


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def violations(root: Path) -> list[str]:
    """Every import that runs the wrong way, and every import of Prefect outside flows/*.py."""
    found = set()
    for path in sorted(p for folder in FOLDERS for p in (root / folder).rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        home = room(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
        for name in imports(path):
            if name.split(".")[0] == "prefect" and home != "flows":
                found.add(f"{path.relative_to(root)} imports Prefect")
            inside = name.removeprefix("prefloom.")
            if inside == name or inside.split(".")[0] not in FOLDERS:
                continue
            target = room(inside)
            if target != home and RANKS[target] >= RANKS[home] and inside != "flows":  # `flows` itself is an empty package
                found.add(f"{path.relative_to(root)} imports from {target}")
    return sorted(found)


def test_imports_run_one_way() -> None:
    assert violations(ROOT) == []


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("schemas/bad.py", "from prefloom.flows.dataset.store import Store"),
        ("schemas/bad.py", "import prefloom.prompts"),
        ("flows/dataset/bad.py", "from prefloom.prompts import load"),
        ("prompts/bad.py", "from prefloom.flows.engines import open_engine"),
        ("flows/engines/bad.py", "def f():\n    from prefloom.flows.steps import freshness"),
        ("flows/steps/bad.py", "from prefloom.flows import policies"),
        ("flows/steps/bad.py", "from prefloom.flows.trainers import fspo"),
        ("flows/trainers/bad.py", "from prefloom.flows.steps.freshness import fresh"),
        ("flows/steps/bad.py", "from prefect import task"),
        ("flows/dataset/bad.py", "import prefect.client"),
    ],
)
def test_the_import_rule_is_not_empty(tmp_path: Path, file: str, line: str) -> None:
    path = tmp_path / file
    path.parent.mkdir(parents=True)
    path.write_text(line + "\n")
    assert len(violations(tmp_path)) == 1


def test_only_audits_open_the_truth() -> None:
    society = "prefloom.flows.engines.society.truth"
    found = {
        (str(path.relative_to(ROOT)), name.removeprefix(society + "."))
        for path in (p for folder in FOLDERS for p in (ROOT / folder).rglob("*.py"))
        for name in imports(path)
        if name.startswith(society) and name != society
    }
    plants = {("flows/engines/__init__.py", "keep"), ("flows/engines/__init__.py", "is_kept"), ("flows/steps/personas.py", "planted")}
    # People who are asked themselves have to have their tastes. They give a letter, like any engine; they do not read what audits read.
    plants |= {("flows/engines/society/interview.py", "planted")}
    assert found == plants
    opens = {str(p.relative_to(ROOT)) for folder in FOLDERS for p in (ROOT / folder).rglob("*.py") if society in set(imports(p))}
    assert opens - {file for file, _ in plants} == {"flows/steps/audit.py"}


def test_no_file_is_above_400_lines() -> None:
    sizes = {path: len(path.read_text().splitlines()) for folder in (*FOLDERS, "tests") for path in (ROOT / folder).rglob("*.py")}
    assert {str(path): lines for path, lines in sizes.items() if lines > 400} == {}
    product = sorted(lines for path, lines in sizes.items() if "tests" not in path.parts)
    assert product[len(product) // 2] <= 130


def test_no_ten_lines_stand_twice() -> None:
    seen: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for path in sorted(p for folder in FOLDERS for p in (ROOT / folder).rglob("*") if p.suffix in {".py", ".md"}):
        lines = path.read_text().splitlines()
        for start in range(len(lines) - 9):
            window = tuple(lines[start : start + 10])
            if any(line.strip() for line in window):
                seen[window].append(f"{path.relative_to(ROOT)}:{start + 1}")
    assert [places for places in seen.values() if len(places) > 1] == []


def test_every_module_says_what_it_is_for() -> None:
    for path in sorted(p for folder in FOLDERS for p in (ROOT / folder).rglob("*.py")):
        assert ast.get_docstring(ast.parse(path.read_text())), path


def test_the_wheel_holds_the_package_and_no_run_data(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True)
    for name in listed.stdout.splitlines():
        if (ROOT / name).is_file():
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            (tree / name).write_bytes((ROOT / name).read_bytes())
    for folder in ("runs/demo-1", "journal/m", "truth/s", "trainings/t"):
        (tree / "data" / folder).mkdir(parents=True)
        (tree / "data" / folder / "part-00000.parquet").write_bytes(b"private")
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--quiet", "-w", str(tmp_path), str(tree)]
    subprocess.run(command, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("prefloom-*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    outside = [name for name in names if not name.startswith("prefloom/") and ".dist-info/" not in name]
    assert outside == []
    assert not [name for name in names if name.startswith(("prefloom/data/runs", "prefloom/data/journal", "prefloom/data/t"))]
    sources = {
        f"prefloom/{p.relative_to(ROOT)}"
        for f in FOLDERS
        for p in (ROOT / f).rglob("*")
        if p.suffix in {".py", ".md", ".typed", ".html", ".css"}
    }
    shipped = {f"prefloom/{p.relative_to(ROOT)}" for f in ("seeds", "recipes", "society") for p in (ROOT / "data" / f).iterdir()}
    assert {name for name in sources | shipped if "__pycache__" not in name} <= set(names)
