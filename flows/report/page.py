"""The report: one HTML page about a finished dataset, for people.

    prefloom report data/runs/demo-3b9c…   ->   data/runs/demo-3b9c…/report.html

The page carries its figures inside, runs no script and asks for nothing: its content security policy forbids both. Texts that models and
files gave it are escaped, cut, and shown with control and direction characters written out. Figures are bounded, so that a million labels
make a page of the same size as a thousand.
"""

from importlib.resources import files

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from prefloom.flows.dataset import executions, manifest, population, statistics
from prefloom.flows.dataset.completed import outcome
from prefloom.flows.dataset.run import RECIPE, Run
from prefloom.flows.dataset.store import Store
from prefloom.flows.report import agreement, audit, diversity, gallery, sections, signal, targets
from prefloom.flows.report.samples import choose
from prefloom.schemas.recipe import Price
from prefloom.schemas.texts import short, visible
from prefloom.schemas.usage import money

NAME = "report.html"
LONGEST = 1500  # characters of a text that are shown


def write_report(store: Store, name: str = NAME) -> int:
    """Write the page into the run folder; its size in bytes. InputError if the folder holds no dataset."""
    page = render(store).encode()
    store.publish(name, lambda file: file.write(page))
    return len(page)


def render(store: Store) -> str:
    """The page of a finished dataset."""
    found = manifest.load(store)
    data, log = statistics.load(store), executions.read(store)
    votes = population.votes(data)
    recipe, matrix = manifest.recipe_of(store, found), population.matrix(votes)
    folder, words = files("prefloom.flows.report"), environment()
    template = words.from_string((folder / "page.html").read_text(encoding="utf-8"))
    return template.render(
        css=Markup((folder / "style.css").read_text(encoding="utf-8")),  # noqa: S704 - our own file
        name=found.name,
        fingerprint=found.fingerprint,
        counts=sections.counts(found, data, votes),
        funnel=sections.funnel(found),
        targets=targets.section(store, recipe, words),
        margins=sections.margins(data, recipe),
        orders=sections.orders(data),
        people=sections.people(data, votes, matrix),
        signal=signal.section(store, words),
        refinement=outcome(store),
        bounds=agreement.section(store, data, recipe, matrix, words),
        answers=sections.answers(data, matrix),
        written=gallery.written(data),
        properties=gallery.properties(data),
        diversity=diversity.section(store, data, found, words),
        samples=choose(data),
        baselines=sections.baselines(data, votes),
        audit=audit.section(store, words),
        usage=sections.usage(found, _prices(store), log),
        provenance=sections.provenance(store.url, found, log),
    )


def environment() -> Environment:
    """What templates are rendered in: everything escaped, and the filters that numbers and untrusted texts go through."""
    made = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    made.filters |= {
        "shown": shown,
        "pct": percent,
        "num": number,
        "money": money,
        "n": lambda value: f"{value:,}",
        "excerpt": excerpt,
    }
    return made


def shown(text: object, longest: int = LONGEST) -> str:
    """Untrusted text for a reader: visible characters, cut, with its length named."""
    return visible(short(str(text), longest))


def excerpt(text: str, longest: int = gallery.PASSAGE) -> str:
    """The beginning of untrusted text, where its length is told elsewhere."""
    return visible(text if len(text) <= longest else f"{text[:longest].rstrip()} …")


def percent(value: float, digits: int = 0) -> str:
    """0.314 -> '31 %'; a dash where there is nothing to count."""
    return "–" if value != value else f"{100 * value:.{digits}f}\u202f%"


def number(value: float, digits: int) -> str:
    """1.7342 -> '1.73'; a dash where there is nothing to count."""
    return "–" if value != value else f"{value:.{digits}f}"


def _prices(store: Store) -> dict[str, Price]:
    return dict(Run(store.url).resolved.recipe.prices) if store.exists(RECIPE) else {}
