"""The recipe: the small YAML a person writes. Unknown keys are errors that name the nearest valid key.

    name: demo
    seed: 1
    models: {scholar: {engine: society, character: scholar}, judge: {engine: society, character: good}}
    personas: [{source: grid, count: 200}]
    prompts: [{source: seeds, count: 100}]
    candidates: {source: models, models: [scholar], views: ["a short answer", "a list of steps"], samples: 2}
    judgements: {model: judge}

`python -m prefloom.schemas.recipe > data/recipes/recipe.schema.json` writes the JSON Schema that editors read.
"""

import math
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from prefloom.schemas.diversity import Diversity, Pilot
from prefloom.schemas.embedder import SERVING, Embedder
from prefloom.schemas.errors import nearest
from prefloom.schemas.ids import content_hash
from prefloom.schemas.models import EndpointModel, SocietyModel
from prefloom.schemas.section import Count, Distinct, Money, Section, Share, portable
from prefloom.schemas.serving import Server

FINGERPRINT_VERSION = 1

# Sections that do not change the data, and so not the fingerprint either.
EXCLUDED: dict[str, str] = {
    "run": "how fast a build goes, not what it makes: any number of workers gives the same bytes",
    "limits": "decides whether a build may finish, not what is in it",
    "prices": "what the same calls cost",
    "rates": "what `plan` reckons with before anything is known",
    "servers": "who gives a model's answers does not change them",
}
# Values that depend on the machine, and what the fingerprint takes in their place.
REPLACED: dict[str, str] = {
    "path": "the hash of the file's content: where it lies does not matter",
    "template": "the bare name of a template file; its content is in the hash of the stage that renders it",
    "templates": "the same, one by one",
}
OPTIONAL = ("embeddings", "diversity", "pilot")  # sections whose absence leaves the fingerprint as it was before there were any
OPAQUE = ("models", "values", "fields", "target")  # keys below these are the user's own words: a model may be called `path`
_COMBINATIONS = 1_000_000  # personas that one template may stand for


class GridPersonas(Section):
    """Personas from a grid of traits: every trait balanced, combinations distinct."""

    source: Literal["grid"] = Field(description="Says which kind of source this is")
    count: Count = Field(description="How many personas; raising it keeps those already there")
    path: str | None = Field(default=None, description="YAML of traits -> values -> wordings (default: the shipped seeds)")
    template: str = Field(default="persona/describe", description="Template that turns traits into a description")


class TemplatePersonas(Section):
    """One persona for every combination of the values."""

    source: Literal["template"] = Field(description="Says which kind of source this is")
    text: str = Field(description="Description with {{ variables }}")
    values: dict[str, Annotated[list[str], Field(min_length=1)]] = Field(description="Variable -> its values")

    @model_validator(mode="after")
    def _not_too_many(self) -> Self:
        if (count := math.prod(map(len, self.values.values()))) > _COMBINATIONS:
            raise ValueError(f"{count:,} combinations of values, more than {_COMBINATIONS:,}")
        return self


class PersonaFields(Section):
    """Which columns of the file mean what."""

    description: str = Field(default="description", description="Column of what a judge reads about the persona")
    id: str | None = Field(default=None, description="Column of your own id, kept as source_id")
    traits: list[str] = Field(
        default=[], exclude_if=lambda names: not names, description="Columns that are traits: its name, and the value of the cell"
    )


class FilePersonas(Section):
    """Personas from a .jsonl, .csv or .parquet file."""

    source: Literal["file"] = Field(description="Says which kind of source this is")
    path: str = Field(description="A .jsonl, .csv or .parquet file, relative to the recipe")
    count: Count | None = Field(default=None, description="How many of the distinct ones, chosen by hash (default: all)")
    fields: PersonaFields = PersonaFields()


class SocietyPersonas(Section):
    """People with planted tastes, so that every label can be checked against the truth."""

    source: Literal["society"] = Field(description="Says which kind of source this is")
    count: Count = Field(description="How many people; raising it keeps those already there")
    preset: Literal["fspo-like", "personalllm-like"] = Field(
        default="fspo-like", description="Tastes without anything in common, or with a common share of .6 (data/society/people.yaml)"
    )
    stated: Share = Field(default=0.7, description="Share of a person's tastes that the description tells, strongest first")
    wording: Literal["levels", "exact"] = Field(
        default="levels", description="Tastes in words of five strengths, or every weight as a number"
    )
    common: Share | None = Field(default=None, description="Share of the variance of tastes that all have alike (default: the preset's)")
    between: Share | None = Field(default=None, description="Share of the rest that a camp has alike (default: the preset's)")
    clusters: int | None = Field(default=None, ge=1, le=1000, description="Camps (default: the preset's)")
    bends: Share | None = Field(default=None, description="Share of utility that is not linear in the properties (default: the preset's)")
    hidden: Share | None = Field(default=None, description="Share of utility that no property tells (default: the preset's)")


class SeedPrompts(Section):
    """Prompts that ship with prefloom."""

    source: Literal["seeds"] = Field(description="Says which kind of source this is")
    path: str | None = Field(default=None, description="JSONL of text and domain (default: the shipped seeds)")
    count: Count | None = Field(default=None, description="How many of the distinct ones, chosen by hash (default: all)")


class PromptFields(Section):
    """Which columns of the file mean what."""

    text: str = Field(default="text", description="Column of the task")
    id: str | None = Field(default=None, description="Column of your own id, by which answers may name their prompt")
    domain: str | None = Field(default=None, description="Column of a topic, for tables and figures")


class FilePrompts(Section):
    """Prompts from a .jsonl, .csv or .parquet file."""

    source: Literal["file"] = Field(description="Says which kind of source this is")
    path: str = Field(description="A .jsonl, .csv or .parquet file, relative to the recipe")
    count: Count | None = Field(default=None, description="How many of the distinct ones, chosen by hash (default: all)")
    fields: PromptFields = PromptFields()


class ModelCandidates(Section):
    """Answers written by models: every model, in every view, `samples` times."""

    source: Literal["models"] = Field(description="Says which kind of source this is")
    models: Distinct = Field(min_length=1, description="Names from `models`")
    views: list[str | None] = Field(default=[None], min_length=1, description="Viewpoints or styles asked for; null asks for none")
    samples: int = Field(default=1, ge=1, le=1000, description="Answers of each model in each view")
    temperature: float = Field(default=0.9, ge=0, le=5, description="Sampling temperature")
    max_tokens: Count = Field(default=512, description="Longest answer, in tokens of the model")
    template: str = Field(default="candidate/answer", description="Template that puts the task to a model")


class CandidateFields(Section):
    """Which columns of the file mean what; a row names its prompt by `prompt_id` or by its `prompt` text."""

    text: str = Field(default="text", description="Column of the answer")
    model: str | None = Field(default="model", description="Column of the name of who wrote it (null: unknown)")
    prompt_id: str | None = Field(default=None, description="Column of the prompt's id, as in `prompts.fields.id`")
    prompt: str | None = Field(default=None, description="Column of the prompt's whole text")

    @model_validator(mode="after")
    def _one_link(self) -> Self:
        if (self.prompt_id is None) == (self.prompt is None):
            raise ValueError("name exactly one of prompt_id and prompt, the column that links an answer to its prompt")
        return self


class FileCandidates(Section):
    """Answers that already exist, from a .jsonl, .csv or .parquet file."""

    source: Literal["file"] = Field(description="Says which kind of source this is")
    path: str = Field(description="A .jsonl, .csv or .parquet file, relative to the recipe")
    fields: CandidateFields


class Comparisons(Section):
    """Which two candidates are compared, and who is asked."""

    per_prompt: Count = Field(default=3, description="Unordered pairs of candidates taken from each prompt")
    prompts_per_persona: Count | None = Field(default=None, description="Prompts each persona is asked about (default: all)")
    per_persona_prompt: Count = Field(default=1, description="Comparisons of one prompt that a persona is asked")

    @model_validator(mode="after")
    def _no_more_than_there_are(self) -> Self:
        if self.per_persona_prompt > self.per_prompt:
            raise ValueError(f"per_persona_prompt {self.per_persona_prompt} is more than per_prompt {self.per_prompt}")
        return self


class Judgements(Section):
    """Who decides, and from which words."""

    model: str = Field(description="Name from `models`")
    templates: Distinct = Field(default=["judge/pairwise"], min_length=1, description="Each is read in both orders")


class CandidateChecks(Section):
    """What makes an answer unfit to be compared (empty answers and duplicates always are)."""

    refused: bool = Field(default=True, description="Reject answers that decline")
    truncated: bool = Field(default=True, description="Reject answers that were cut off")
    min_latin_share: Share = Field(default=0.5, description="Letters in Latin script; 0 admits every language")


class LabelChecks(Section):
    """What a label must be to become a preference."""

    min_mass: Share = Field(default=0.5, description="Probability the judge must have given to the two letters")
    min_margin: float = Field(default=0.2, ge=0, le=100, description="Smallest |margin| in log-odds")
    min_consistency: Share = Field(default=1.0, description="Share of templates whose two orders agree")
    length_only: bool = Field(default=True, description="Reject comparisons whose answers differ in length alone")


class Checks(Section):
    """All checks, in the order they run."""

    candidates: CandidateChecks = CandidateChecks()
    labels: LabelChecks = LabelChecks()


class Splits(Section):
    """Shares of personas and of prompts that are set aside."""

    validation: Share = Field(default=0.1, description="Of personas and of prompts, for choosing settings")
    test: Share = Field(default=0.1, description="Of personas and of prompts, for measuring")

    @model_validator(mode="after")
    def _leave_train(self) -> Self:
        if self.validation + self.test >= 1:
            raise ValueError("validation + test must leave something for train")
        return self


class Shards(Section):
    """Files per table: prompts to judgements by hash of prompt, labels and preferences by hash of persona."""

    prompts: int = Field(default=8, ge=1, le=4096, description="Parts of prompts, candidates, comparisons and judgements")
    personas: int = Field(default=4, ge=1, le=4096, description="Parts of labels, preferences and exports")


class TrlExport(Section):
    """Conversational rows with explicit prompt, for TRL's trainers."""

    persona: bool = Field(default=True, description="Put the persona's description into a system message")


class Exports(Section):
    """Which views of the dataset are written beside it."""

    trl: TrlExport | None = Field(default=TrlExport(), description="For TRL; null writes none")


class Limits(Section):
    """When a build gives up."""

    failures: Share = Field(default=0.05, description="Share of a stage's units that may be lost to failures")
    spend: Money | None = Field(
        default=None, description="US dollars that this run may pay for calls, by `prices`; then it stops, to be resumed"
    )


class Price(Section):
    """What a model costs, in US dollars per million tokens, to the decimal."""

    prompt: Money = Field(description="US dollars per million prompt tokens, to the decimal")
    completion: Money = Field(description="The same for completion tokens")
    cached: Money | None = Field(default=None, description="For prompt tokens that the server had in its cache (default: as the others)")


class Rate(Section):
    """What `plan` takes for granted about a model where nothing has been measured yet."""

    calls_per_second: float | None = Field(
        default=None, ge=1e-6, le=1e9, description="Calls it answers in a second, all workers and servers together"
    )
    prompt_tokens_per_second: float | None = Field(
        default=None, ge=1e-6, le=1e12, description="Prompt tokens it computes in a second; those shared from a prefix cache take no time"
    )
    completion_tokens_per_second: float | None = Field(
        default=None, ge=1e-6, le=1e12, description="Completion tokens it writes in a second, many answers at a time"
    )
    shares_prefixes: bool | None = Field(
        default=None,
        description="Its servers compute what several prompts begin with once (default: true for vLLM that prefloom starts, else false)",
    )
    answer_tokens: float | None = Field(default=None, gt=0, le=1e9, description="Tokens of one of its answers, on average")
    characters_per_token: float = Field(default=4.0, gt=0, le=1000, description="Characters of a prompt that make one token")


class Run(Section):
    """How the machine is used."""

    workers: int = Field(default=4, ge=1, le=256, description="Shards worked on at a time")
    report: bool = Field(default=True, description="Write report.html when the dataset is finished")


class Recipe(Section):
    """The whole recipe, every default filled in."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,63}$", description="Lower-case letters, digits and hyphens")
    seed: int = Field(default=0, ge=0, lt=2**53, description="Decides every draw; another seed is another dataset")
    models: dict[str, Annotated[SocietyModel | EndpointModel, Field(discriminator="engine")]] = Field(
        description="Your name for a model -> what answers"
    )
    personas: list[Annotated[GridPersonas | TemplatePersonas | FilePersonas | SocietyPersonas, Field(discriminator="source")]] = Field(
        min_length=1, description="Where the personas come from: one or more sources"
    )
    prompts: list[Annotated[SeedPrompts | FilePrompts, Field(discriminator="source")]] = Field(
        min_length=1, description="Where the prompts come from: one or more sources"
    )
    candidates: Annotated[ModelCandidates | FileCandidates, Field(discriminator="source", description="Where the answers come from")]
    embeddings: Embedder | None = Field(default=None, description="What turns the texts of the dataset into vectors; null makes none")
    diversity: Diversity | None = Field(default=None, description="Near-duplicates out, the most different kept; null does neither")
    pilot: Pilot | None = Field(default=None, description="A look at answers and pairs before everybody is asked; null: pairs by chance")
    comparisons: Comparisons = Comparisons()
    judgements: Judgements
    checks: Checks = Checks()
    splits: Splits = Splits()
    shards: Shards = Shards()
    exports: Exports = Exports()
    limits: Limits = Limits()
    prices: dict[str, Price] = Field(default={}, description="Model -> its price per million tokens; for plan, progress and report")
    rates: dict[str, Rate] = Field(default={}, description="Model -> what `plan` reckons with")
    servers: dict[str, Server] = Field(default={}, description="Model -> where it is served; for those of engine endpoint")
    run: Run = Run()

    @model_validator(mode="after")
    def _models_exist(self) -> Self:
        asked = [*getattr(self.candidates, "models", []), self.judgements.model, *self.prices, *self.rates, *self.servers]
        for name in asked:
            if name not in self.models:
                raise ValueError(f"no model '{name}' under models; {nearest(name, self.models)}")
        if idle := [name for name in self.servers if not isinstance(self.models[name], EndpointModel)]:
            raise ValueError(f"servers.{idle[0]} serves nobody: that model has engine {self.models[idle[0]].engine}")
        unpriced = [name for name in asked if isinstance(self.models[name], EndpointModel) and name not in self.prices]
        if self.limits.spend is not None and unpriced:
            raise ValueError(f"limits.spend needs to know what every model costs, and there is no prices.{unpriced[0]}")
        return self

    @model_validator(mode="after")
    def _vectors_exist(self) -> Self:
        for name in ("diversity", "pilot"):
            if getattr(self, name) is not None and self.embeddings is None:
                raise ValueError(f"{name} without vectors to go by: add embeddings: {{engine: sentence-transformers}}")
        return self


class Resolved(BaseModel):
    """A recipe as it was run: every default filled in, every input file named by the hash of its content."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    recipe: Recipe
    inputs: dict[str, str] = Field(description="Path of an input file -> sha256 of its content")

    def data(self, *sections: str) -> dict[str, Any]:
        """The data-relevant part of the recipe, or of the named sections ('checks.labels' names a part of a section)."""
        everything = self.recipe.model_dump(mode="json", exclude=set(EXCLUDED))
        for name in OPTIONAL:  # without them a dataset is what it was before there were any
            if everything[name] is None:
                del everything[name]
        if "embeddings" in everything:
            everything["embeddings"] = {key: value for key, value in everything["embeddings"].items() if key not in SERVING}
        if not sections:
            whole: dict[str, Any] = self._portable(everything)
            return whole
        return {name: self._portable(_lookup(everything, name)) for name in sections if name.split(".")[0] in everything}

    def _portable(self, node: Any, key: str = "") -> Any:
        """Replace what depends on the machine: a path by its content's hash, a template file by its bare name."""
        if isinstance(node, dict):
            return {name: value if name in OPAQUE else self._portable(value, name) for name, value in node.items()}
        if isinstance(node, list):
            return [self._portable(item, key) for item in node]
        if node is None or key not in REPLACED:
            return node
        return self.inputs[node] if key == "path" else portable(node)

    @property
    def fingerprint(self) -> str:
        """12 hex digits over the data-relevant part."""
        return fingerprint(self.data())


def fingerprint(data: dict[str, Any]) -> str:
    """The fingerprint of the data-relevant part of a recipe, as it also stands in the manifest."""
    return content_hash([FINGERPRINT_VERSION, data], size=6)


def _lookup(node: Any, dotted: str) -> Any:
    for part in dotted.split("."):
        node = node[part]
    return node


if __name__ == "__main__":
    import json
    import sys

    json.dump(Recipe.model_json_schema(), sys.stdout, indent=1)
    sys.stdout.write("\n")
