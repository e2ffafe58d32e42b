"""The card: the page that a dataset has on the Hugging Face Hub, as Markdown with a YAML header that says what lies where.

card(store, resolved, "me/prefs", terms, None, None)  ->  the text of README.md

Everything that a recipe, a model or a file gave goes through `plain`, which leaves nothing of Markdown and HTML in it; the header is
written by a YAML library; a recipe stands in a fence that is longer than any in it.
"""

import re
from importlib.metadata import version
from importlib.resources import files
from typing import Any

import yaml
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from prefloom.flows.dataset import audits, manifest, portable, stages
from prefloom.flows.dataset.card_figures import figures
from prefloom.flows.dataset.diff_text import summary
from prefloom.flows.dataset.licences import Terms
from prefloom.flows.dataset.store import Store
from prefloom.schemas.manifest import Manifest
from prefloom.schemas.models import EndpointModel
from prefloom.schemas.recipe import Resolved
from prefloom.schemas.splits import SPLITS
from prefloom.schemas.texts import short, visible

DEFAULT = "preferences"  # the configuration that is loaded unless another is named
WHOLE = "full"  # the split of every other one: `all` has a meaning of its own in `datasets`
MOST = 12  # rows of a list
SAID = {
    "train": "personas and prompts of training",
    "validation": "for choosing settings",
    "test_new_prompts": "personas of training, prompts that no split above has",
    "test_new_personas": "the other way round",
    "test_new_both": "neither was seen",
}
ROWS = {
    "preferences": "a preference, as texts",
    "preference_ids": "a preference, by ids, with how sure it is and how many disagree",
    "labels": "what all judgements of a persona about two answers come to, kept or not",
    "judgements": "one reading of two answers, in one order",
    "personas": "a simulated person",
    "prompts": "a task",
    "candidates": "an answer to a prompt",
    "comparisons": "two answers, and who was asked about them",
    "rejected": "what a check removed or a failure cost, with the reason",
    "embeddings": "the vector of a text",
    "drafts": "a round of answers that some people read first",
    "scores": "what a reward model or scorer gives an answer",
    "standards": "mean and spread of a reward",
    "pilot": "a pair of answers as a few people read it before everybody was asked",
    "refinements": "what was appended to a persona's description, and why",
    "controls": "a reading for nobody, for another persona, or once more",
}
_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"), (10_000_000, "1M<n<10M"))


def configs(found: Manifest) -> list[dict[str, Any]]:
    """What `load_dataset` can be asked for: name, rows and files by split; the default first."""
    rows = {file.path: file.rows for file in found.files}
    texts = {split: f"exports/trl/{split}" for split in SPLITS}
    made = [_config(DEFAULT, rows, texts), *(_config(folder, rows, {WHOLE: folder}) for folder in ROWS)]
    if made[0]["rows"]:
        made = [
            one | {"config_name": "preference_ids"} if place and one["config_name"] == DEFAULT else one for place, one in enumerate(made)
        ]
    there = [one for one in made if one["rows"]]
    return [{"config_name": there[0].pop("config_name"), "default": True} | there[0], *there[1:]]


def _config(name: str, rows: dict[str, int], folders: dict[str, str]) -> dict[str, Any]:
    """One configuration. A part without rows is left out, for `datasets` cannot read one."""
    data, count = [], 0
    for split, folder in folders.items():
        mine = {path: n for path, n in rows.items() if path.startswith(f"{folder}/") and path.endswith(".parquet")}
        full = sorted(path for path, n in mine.items() if n)
        if full:
            data.append({"split": split, "path": f"{folder}/*.parquet" if len(full) == len(mine) else full})
        count += sum(mine.values())
    return {"config_name": name, "data_files": data, "rows": count}


def card(store: Store, resolved: Resolved, repo_id: str, terms: Terms, tag: str | None, difference: dict[str, Any] | None) -> str:
    """The page. `difference` is what dataset.diff says of the version before, if there is one."""
    found, recipe = manifest.load(store), resolved.recipe
    said, numbers, listed = recipe.publish, figures(store), configs(found)
    title = said.pretty_name or recipe.name
    embedded = portable.text(resolved)
    citation = said.citation or _citation(title, said.authors, repo_id, tag)
    folder = files("prefloom.flows.report")
    template = _environment().from_string((folder / "card.md").read_text(encoding="utf-8"))
    return template.render(
        header=_raw(_header(resolved, title, terms, listed, numbers["preferences"])),
        title=title,
        description=said.description or "",
        figures=numbers,
        run=_code(f"{found.name}-{found.fingerprint}"),
        repo_id=_raw(repo_id),
        at=_raw(f', revision="{tag}"' if tag else ""),
        text_view=any(file.rows and file.path.startswith("exports/trl/") for file in found.files),
        SPLITS=SAID,
        tables=[{"name": one["config_name"], "rows": one["rows"], "what": ROWS[one["config_name"]]} for one in listed],
        judge=recipe.judgements.model if recipe.asks else "",
        simulated=not _asked(resolved),
        accuracy=_accuracy(store),
        funnel=_funnel(found),
        licence=None if terms.objections else terms.licence,
        sources=[vars(source) | {"model": _model(resolved, source.name)} for source in terms.sources],
        objections=terms.objections,
        difference=_difference(difference),
        version=_raw(version("prefloom")),
        inputs=", ".join(sorted(portable.portable(resolved)["inputs"])),
        recipe=_raw(visible(embedded)),
        fence=_raw(_fence(embedded)),
        citation=_raw(visible(citation)),
        citation_fence=_raw(_fence(citation)),
    )


def _header(resolved: Resolved, title: str, terms: Terms, listed: list[dict[str, Any]], rows: int) -> str:
    """The YAML header. A licence that is not settled is `other`, so that nobody takes it for a permission."""
    settled = terms.licence is not None and not terms.objections
    content = {
        "pretty_name": " ".join(visible(title).split()),
        "license": terms.licence if settled else "other",
        **({} if settled else {"license_name": "unsettled"}),
        "language": list(resolved.recipe.publish.language),
        "task_categories": ["text-generation", "reinforcement-learning"],
        "size_categories": [next((size for most, size in _SIZES if rows < most), "n>10M")],
        "annotations_creators": ["machine-generated"],
        "language_creators": ["machine-generated"],
        "source_datasets": ["original"],
        "tags": ["synthetic", "preference", "dpo", "personalization", "trl", "prefloom", *([] if _asked(resolved) else ["simulated"])],
        "configs": [{key: value for key, value in one.items() if key != "rows"} for one in listed],
    }
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=10_000)


def _funnel(found: Manifest) -> list[dict[str, Any]]:
    rows = []
    for stage in stages.STAGES:
        if entry := found.stages.get(stage.name):
            reasons = sorted(entry.rejected.items(), key=lambda item: -item[1])
            said = ", ".join(f"{count:,} {reason.partition('/')[2]}" for reason, count in reasons[:MOST])
            rows.append({"stage": stage.name, "unit": stage.unit, "considered": entry.considered, "kept": entry.kept, "reasons": said})
    return rows


def _accuracy(store: Store) -> list[tuple[str, float]]:
    """Shares that are right against planted tastes, where an audit has measured them."""
    truth = audits.read(store).get("truth") or {}
    found = {"labels": (truth.get("accuracy") or {}).get("prompts"), "preferences": truth.get("preferences")}
    return [(f"{name} that are right, against planted tastes", share["value"]) for name, share in found.items() if share]


def _model(resolved: Resolved, name: str) -> str:
    model = resolved.recipe.models.get(name)
    return model.model if isinstance(model, EndpointModel) else f"{model.character} of prefloom's simulated society" if model else ""


def _difference(found: dict[str, Any] | None) -> dict[str, Any] | None:
    if found is None:
        return None
    moved = [f"{row['trait']} {row['value']}: {row['old']:.1%} → {row['new']:.1%}" for row in found["population"][:MOST]]
    turned = [f"{row['trait']} {row['value']}: {row['share']:.1%} of {row['shared']:,}" for row in found["groups"][:MOST]]
    spread = [f"{row['what']}: {row['old']:.3f} → {row['new']:.3f}" for row in found["diversity"] if None not in (row["old"], row["new"])]
    changed = [f"{row['key']}: {_value(row['old'])} → {_value(row['new'])}" for row in found["recipe"][:MOST]]
    titles = {"In the recipe:": changed, "Labels turned, by group:": turned, "Shares of the population:": moved, "Diversity:": spread}
    lists = [(title, rows) for title, rows in titles.items() if rows]
    return {"summary": f"Against {found['old']}: {summary(found['labels'])}.", "rows": found["rows"], "lists": lists}


def _asked(resolved: Resolved) -> bool:
    """Whether any model is more than a member of the society."""
    return any(isinstance(model, EndpointModel) for model in resolved.recipe.models.values())


def _value(value: object) -> str:
    """A value of a recipe as YAML would have it on one line."""
    return "none" if value is None else yaml.safe_dump(value, default_flow_style=True, width=10_000).removesuffix("\n...\n").strip()


def _citation(title: str, authors: list[str], repo_id: str, tag: str | None) -> str:
    key = re.sub(r"\W+", "_", repo_id.rpartition("/")[2])
    fields = {"author": " and ".join(authors) or repo_id.partition("/")[0], "title": title}
    fields = {name: re.sub(r"[{}\\]", "", " ".join(value.split())) for name, value in fields.items()}
    fields |= {"version": tag} if tag else {}
    fields |= {"howpublished": f"\\url{{https://huggingface.co/datasets/{repo_id}}}"}
    return "\n".join([f"@misc{{{key},", *(f"  {name} = {{{value}}}," for name, value in fields.items()), "}"])


def _fence(text: str) -> str:
    """More backticks than stand anywhere in the text."""
    return "`" * max(3, *(len(run) + 1 for run in re.findall("`+", text) or [""]))


def plain(value: object, longest: int = 600) -> str:
    """Untrusted text as one line in which nothing is markup: visible characters, everything special escaped, links broken."""
    text = " ".join(visible(short(str(value), longest)).split())
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    text = re.sub(r"([\\`*_{}\[\]()#!|~$^@])", r"\\\1", text)
    return re.sub(r"^([-+=]|\d+[.)](?= ))", r"\\\1", re.sub(r"(?i)\b(https?|ftp|www)(:|\.)", "\\1\u200b\\2", text))


def _raw(text: str) -> Markup:
    return Markup(text)  # noqa: S704 - made here, or checked before


def _environment() -> Environment:
    def write(value: object) -> object:
        return value if isinstance(value, Markup | int | float) else plain(value)

    made = Environment(finalize=write, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True)  # noqa: S701
    made.globals.update(n=_count, pct=_percent, code=_code)
    return made


def _count(value: int | None) -> Markup:
    return _raw("–" if value is None else f"{value:,}")


def _percent(value: float | None) -> Markup:
    return _raw("–" if value is None else f"{100 * value:.1f} %")


def _code(name: str) -> Markup:
    """A name of ours, or one that has been checked to hold nothing but letters, digits and hyphens."""
    return _raw(f"`{name}`")
