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

import re
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from prefloom.schemas.agreement import Agreement
from prefloom.schemas.checks import Checks, Comparisons, Judgements
from prefloom.schemas.controls import Controls, SignalLimits
from prefloom.schemas.diversity import Diversity, Pilot
from prefloom.schemas.embedder import SERVING, Embedder
from prefloom.schemas.ensembles import AttributePersonas, EnsemblePersonas
from prefloom.schemas.errors import nearest
from prefloom.schemas.exports import Exports
from prefloom.schemas.ids import content_hash
from prefloom.schemas.models import EndpointModel, SocietyModel
from prefloom.schemas.people import GridPersonas, TemplatePersonas, WrittenPersonas
from prefloom.schemas.prompt_sources import AugmentedPrompts, EntityPrompts, SpecificPrompts
from prefloom.schemas.publishing import Publish
from prefloom.schemas.refinement import Refinement
from prefloom.schemas.rewards import REWARD_SERVING, Reward
from prefloom.schemas.section import Money, Section, Share, portable
from prefloom.schemas.serving import Server
from prefloom.schemas.sources import (
    FileCandidates,
    FilePersonas,
    FilePrompts,
    ModelCandidates,
    SeedPrompts,
    SocietyPersonas,
)
from prefloom.schemas.splits import Half
from prefloom.schemas.steering import AskedViews
from prefloom.schemas.target import Target

FINGERPRINT_VERSION = 1
PersonaSource = Annotated[
    GridPersonas | TemplatePersonas | FilePersonas | SocietyPersonas | WrittenPersonas | EnsemblePersonas | AttributePersonas,
    Field(discriminator="source"),
]
PromptSource = Annotated[SeedPrompts | FilePrompts | EntityPrompts | AugmentedPrompts | SpecificPrompts, Field(discriminator="source")]

# Sections that do not change the data, and so not the fingerprint either.
EXCLUDED: dict[str, str] = {
    "run": "how fast a build goes, not what it makes: any number of workers gives the same bytes",
    "limits": "decides whether a build may finish, not what is in it",
    "prices": "what the same calls cost",
    "rates": "what `plan` reckons with before anything is known",
    "servers": "who gives a model's answers does not change them",
    "publish": "what is said about the dataset, not what is in it",
}
# Values that depend on the machine, and what the fingerprint takes in their place.
REPLACED: dict[str, str] = {
    "path": "the hash of the file's content: where it lies does not matter",
    "template": "the bare name of a template file; its content is in the hash of the stage that renders it",
    "templates": "the same, one by one",
    "calibration": "as with a path",
}
FILES = ("path", "calibration")  # keys of input files
_ABSENT = object()
# Sections whose absence leaves the fingerprint as it was before there were any.
OPTIONAL = ("embeddings", "diversity", "pilot", "agreement", "rewards", "refinement", "controls", "target")
# Keys below these are the user's own words: a model may be called `path`.
OPAQUE = ("models", "licences", "values", "fields", "target", "traits", "tastes", "by_trait", "weights", "types", "shares")


class Splits(Section):
    """Shares of personas and of prompts that are set aside."""

    validation: Share = Field(default=0.1, description="Of personas and of prompts, for choosing settings")
    test: Share = Field(default=0.1, description="Of personas and of prompts, for measuring")
    by_trait: dict[str, dict[str, Half]] = Field(
        default={},
        exclude_if=lambda traits: not traits,
        description="Trait -> value -> train, validation or test: where personas with it go, whatever their hash",
    )

    @model_validator(mode="after")
    def _leave_train(self) -> Self:
        if self.validation + self.test >= 1:
            raise ValueError("validation + test must leave something for train")
        return self


class Shards(Section):
    """Files per table: prompts to judgements by hash of prompt, labels and preferences by hash of persona."""

    prompts: int = Field(default=8, ge=1, le=4096, description="Parts of prompts, candidates, comparisons and judgements")
    personas: int = Field(default=4, ge=1, le=4096, description="Parts of labels, preferences and exports")


class Limits(Section):
    """When a build gives up."""

    failures: Share = Field(default=0.05, description="Share of a stage's units that may be lost to failures")
    signal: SignalLimits = SignalLimits()
    missing: Share | None = Field(
        default=None, description="Share of `target.preferences` that a group may lack at the end; null only says which lack some"
    )
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

    workers: int = Field(default=4, ge=1, le=256, description="Shards worked on at a time; with ray the cluster's CPUs decide")
    runner: Literal["threads", "ray"] = Field(
        default="threads",
        exclude_if=lambda runner: runner == "threads",
        description="Where shards are worked on: threads of this process, or a Ray cluster (RAY_ADDRESS, else one on this machine)",
    )
    report: bool = Field(default=True, description="Write report.html when the dataset is finished")


class Recipe(Section):
    """The whole recipe, every default filled in."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,63}$", description="Lower-case letters, digits and hyphens")
    seed: int = Field(default=0, ge=0, lt=2**53, description="Decides every draw; another seed is another dataset")
    models: dict[str, Annotated[SocietyModel | EndpointModel, Field(discriminator="engine")]] = Field(
        description="Your name for a model -> what answers"
    )
    personas: list[PersonaSource] = Field(min_length=1, description="Where the personas come from: one or more sources")
    prompts: list[PromptSource] = Field(min_length=1, description="Where the prompts come from: one or more sources")
    candidates: Annotated[ModelCandidates | FileCandidates, Field(discriminator="source", description="Where the answers come from")]
    embeddings: Embedder | None = Field(default=None, description="What turns the texts of the dataset into vectors; null makes none")
    diversity: Diversity | None = Field(default=None, description="Near-duplicates out, the most different kept; null does neither")
    agreement: Agreement | None = Field(default=None, description="How much people disagree about a prompt's answers; null asks nobody")
    pilot: Pilot | None = Field(default=None, description="A look at answers and pairs before everybody is asked; null: pairs by chance")
    rewards: dict[str, Reward] | None = Field(
        default=None, min_length=1, description="Your name for a reward -> what scores answers; null scores none"
    )
    comparisons: Comparisons = Comparisons()
    target: Target | None = Field(default=None, description="Kept preferences that each group shall have; null asks once")
    refinement: Refinement | None = Field(default=None, description="Complete descriptions that cannot decide; null: leave them")
    judgements: Judgements = Judgements()
    controls: Controls | None = Field(default=None, description="Readings without, with another and once more with a persona; null: none")
    checks: Checks = Checks()
    splits: Splits = Splits()
    shards: Shards = Shards()
    exports: Exports = Exports()
    limits: Limits = Limits()
    prices: dict[str, Price] = Field(default={}, description="Model -> its price per million tokens; for plan, progress and report")
    rates: dict[str, Rate] = Field(default={}, description="Model -> what `plan` reckons with")
    servers: dict[str, Server] = Field(default={}, description="Model -> where it is served; for those of engine endpoint")
    run: Run = Run()
    publish: Publish = Field(
        default=Publish(), exclude_if=lambda said: said == Publish(), description="Licences, and what the page on the Hub says"
    )

    @model_validator(mode="after")
    def _models_exist(self) -> Self:
        writers = [source.model for source in self.personas if isinstance(source, WrittenPersonas)]
        writers += [source.model for source in self.prompts if isinstance(source, AugmentedPrompts | SpecificPrompts)]
        judges = [name for name in (self.judgements.model, self.refinement and self.refinement.model) if name]
        asked = [*writers, *askable(self.candidates), *judges, *self.prices, *self.rates, *self.servers]
        scoring = {*self.prices, *self.rates} & {*(self.rewards or ())}  # a reward has its price and its pace too
        for name in asked:
            if name not in self.models and name not in scoring:
                raise ValueError(f"no model '{name}' under models; {nearest(name, self.models)}")
        if idle := [name for name in self.servers if not isinstance(self.models[name], EndpointModel)]:
            raise ValueError(f"servers.{idle[0]} serves nobody: that model has engine {self.models[idle[0]].engine}")
        unpriced = [name for name in asked if isinstance(self.models[name], EndpointModel) and name not in self.prices]
        if self.limits.spend is not None and unpriced:
            raise ValueError(f"limits.spend needs to know what every model costs, and there is no prices.{unpriced[0]}")
        return self

    @model_validator(mode="after")
    def _servers_are_reached_from_everywhere(self) -> Self:
        ours = [name for name, server in self.servers.items() if server.vllm]
        if self.run.runner == "ray" and ours:
            raise ValueError(
                f"run.runner ray asks from many machines, and servers.{ours[0]}.vllm is started on one; give urls of servers that run"
            )
        return self

    @model_validator(mode="after")
    def _controls_exist(self) -> Self:
        if self.limits.signal.min_sensitivity is not None and not (self.controls and self.controls.shuffled):
            raise ValueError("limits.signal.min_sensitivity without shuffled readings to go by: add controls: {shuffled: 0.05}")
        return self

    @model_validator(mode="after")
    def _can_go_on(self) -> Self:
        if self.target and self.refinement:
            raise ValueError("target asks about more and more comparisons, and refinement needs some that are never asked; leave one out")
        if self.limits.missing is not None and not self.target:
            raise ValueError("limits.missing without a target to go by: add target: {preferences: 5000, budget: 20000}")
        return self

    @model_validator(mode="after")
    def _can_refine(self) -> Self:
        asked = self.comparisons
        if self.refinement and asked.prompts_per_persona is None and asked.per_persona_prompt == asked.per_prompt:
            raise ValueError("refinement needs comparisons that a persona does not label: let per_persona_prompt be less than per_prompt")
        if self.refinement and self.refinement.source == "planted" and any(one.source != "society" for one in self.personas):
            raise ValueError("refinement.source planted asks the people themselves, and only those of `source: society` can be asked")
        return self

    @model_validator(mode="after")
    def _answers_can_be_made_anew(self) -> Self:
        if self.agreement and self.candidates.source == "file":
            raise ValueError("agreement asks for other answers where people agree too much, and candidates.source: file has no others")
        if self.agreement and self.agreement.rounds and getattr(self.candidates, "temperature", None) == 0:
            raise ValueError("agreement.rounds asks again for other answers, and candidates.temperature 0 gives the same; set rounds: 0")
        if self.agreement and (getattr(self.candidates, "steer", None) or not isinstance(getattr(self.candidates, "views", []), list)):
            raise ValueError("agreement makes answers anew in views that the recipe lists, and neither for a persona nor in asked views")
        if self.agreement and not self.asks:
            raise ValueError("agreement asks people before everybody is asked, and here nobody is asked: all decide by weights")
        return self

    @model_validator(mode="after")
    def _vectors_exist(self) -> Self:
        for name in ("diversity", "pilot"):
            if getattr(self, name) is not None and self.embeddings is None:
                raise ValueError(f"{name} without vectors to go by: add embeddings: {{engine: sentence-transformers}}")
        return self

    @model_validator(mode="after")
    def _exports_have_what_they_show(self) -> Self:
        neural = self.exports.neural_process
        if neural and self.embeddings is None:
            raise ValueError("exports.neural_process without vectors to write: add embeddings: {engine: sentence-transformers}")
        scored = [f"exports.neural_process.users: {neural.users}"] if neural and neural.users != "personas" else []
        scored += ["exports.personalllm"] if self.exports.personalllm else []
        if scored and not self.rewards:
            raise ValueError(f"{scored[0]} without scores to go by: add rewards")
        if self.exports.personalllm and "model" in (self.rewards or {}):
            raise ValueError("exports.personalllm has columns response_1_model for who wrote an answer; call the reward 'model' otherwise")
        return self

    @field_validator("rewards")
    @classmethod
    def _names(cls, rewards: dict[str, Reward] | None) -> dict[str, Reward] | None:
        for name in rewards or ():
            if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", name) or name in (*OPAQUE, *REPLACED):
                raise ValueError(
                    f"a reward called {name!r}; letters, digits, dot, hyphen and underscore make a name, and {', '.join(OPAQUE)} do not"
                )
        return rewards

    @model_validator(mode="after")
    def _everybody_can_decide(self) -> Self:
        weighing = [source for source in self.personas if isinstance(source, EnsemblePersonas | AttributePersonas)]
        for source in weighing:
            for name in sorted(source.named) or [""]:
                if not self.rewards or (name and name not in self.rewards):
                    known = nearest(name, self.rewards or {}) if self.rewards else "there are none"
                    raise ValueError(
                        f"personas of source {source.source} weigh '{name or 'all'}', and that is no name under rewards; {known}"
                    )
        if weighing and self.pilot and (self.pilot.personas or self.pilot.rates):
            raise ValueError(
                f"the pilot asks a judge, and personas of source {weighing[0].source} decide by weights; leave one of them out"
            )
        if self.conflict and self.pilot:
            raise ValueError("personas.conflict and pilot both choose the pairs; leave one of them out")
        if sum(isinstance(source, AttributePersonas) and source.conflict is not None for source in weighing) > 1:
            raise ValueError("two sources of personas with a conflict; there is one choice of pairs")
        if weighing and self.judgements.calibration:
            raise ValueError(
                f"judgements.calibration is of a judge, and personas of source {weighing[0].source} have none; leave one of them out"
            )
        if not self.asks and (self.controls or self.refinement):
            raise ValueError("controls and refinement ask a judge, and here all personas decide by weights; leave them out")
        if self.asks and not self.judgements.model:
            raise ValueError("judgements.model is missing: somebody has to read the comparisons for personas with a description")
        return self

    @property
    def asks(self) -> bool:
        """Whether any persona is one that a judge is asked about; the others decide by their weights."""
        return any(not isinstance(source, EnsemblePersonas | AttributePersonas) for source in self.personas)

    @property
    def conflict(self) -> AttributePersonas | None:
        """The source that says on how many of the comparisons its types disagree, if there is one."""
        found = (source for source in self.personas if isinstance(source, AttributePersonas) and source.conflict is not None)
        return next(found, None)


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
        if everything.get("rewards"):
            everything["rewards"] = {
                name: {key: value for key, value in reward.items() if key not in REWARD_SERVING}
                for name, reward in everything["rewards"].items()
            }
        if not sections:
            whole: dict[str, Any] = self._portable(everything)
            return whole
        found = {name: _lookup(everything, name) for name in sections}
        return {name: self._portable(node, name.rpartition(".")[2]) for name, node in found.items() if node is not _ABSENT}

    def _portable(self, node: Any, key: str = "") -> Any:
        """Replace what depends on the machine: a path by its content's hash, a template file by its bare name."""
        if isinstance(node, dict):
            return {name: value if name in OPAQUE else self._portable(value, name) for name, value in node.items()}
        if isinstance(node, list):
            return [self._portable(item, key) for item in node]
        if node is None or key not in REPLACED:
            return node
        return self.inputs[node] if key in FILES else portable(node)

    @property
    def fingerprint(self) -> str:
        """12 hex digits over the data-relevant part."""
        return fingerprint(self.data())


def fingerprint(data: dict[str, Any]) -> str:
    """The fingerprint of the data-relevant part of a recipe, as it also stands in the manifest."""
    return content_hash([FINGERPRINT_VERSION, data], size=6)


def askable(source: ModelCandidates | FileCandidates) -> list[str]:
    """The models that candidates are asked of, who lists their views first."""
    if isinstance(source, FileCandidates):
        return []
    return list(dict.fromkeys([*([source.views.model] if isinstance(source.views, AskedViews) else []), *source.models]))


def _lookup(node: Any, dotted: str) -> Any:
    for part in dotted.split("."):
        if isinstance(node, dict):
            node = node.get(part, _ABSENT)
    return node


if __name__ == "__main__":
    import json
    import sys

    json.dump(Recipe.model_json_schema(), sys.stdout, indent=1)
    sys.stdout.write("\n")
