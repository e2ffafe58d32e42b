"""What each stage of a recipe uses: templates, models, and what else its rows depend on, by name.

draft_models(recipe)   ->  ["scholar", "judge"]        control_templates(recipe)   ->  ["judge/generic", "judge/pairwise"]
"""

from prefloom.schemas.people import GridPersonas, WrittenPersonas
from prefloom.schemas.prompt_sources import AugmentedPrompts, SpecificPrompts
from prefloom.schemas.recipe import Recipe, askable
from prefloom.schemas.sources import ModelCandidates, SocietyPersonas
from prefloom.schemas.steering import AskedViews

GENERIC = "judge/generic"  # what a judge is asked about people in general
REWARD = "rewards/"  # before the name of a reward among the identities of a run
EMBEDDER, PEOPLE = "embeddings", "people"  # what the embedder and planted people are called among the identities of a run


def nothing(_: Recipe) -> list[str]:
    """Nothing."""
    return []


def persona_templates(recipe: Recipe) -> list[str]:
    """What the persona sources render."""
    return sorted({source.template for source in recipe.personas if isinstance(source, GridPersonas | WrittenPersonas)})


def persona_models(recipe: Recipe) -> list[str]:
    """Who writes personas."""
    return list(dict.fromkeys(source.model for source in recipe.personas if isinstance(source, WrittenPersonas)))


def planted(recipe: Recipe) -> list[str]:
    """The identity of planted people, if there are any."""
    return [PEOPLE] if any(isinstance(source, SocietyPersonas) for source in recipe.personas) else []


def writers(recipe: Recipe) -> list[AugmentedPrompts | SpecificPrompts]:
    """The sources whose prompts a model writes."""
    return [source for source in recipe.prompts if isinstance(source, AugmentedPrompts | SpecificPrompts)]


def prompt_templates(recipe: Recipe) -> list[str]:
    """What those sources render."""
    return sorted({source.template for source in writers(recipe)})


def prompt_models(recipe: Recipe) -> list[str]:
    """Who writes prompts."""
    return list(dict.fromkeys(source.model for source in writers(recipe)))


def candidate_templates(recipe: Recipe) -> list[str]:
    """What models that answer are asked with."""
    source = recipe.candidates
    if not isinstance(source, ModelCandidates):
        return []
    return [
        source.steer.template if source.steer else source.template,
        *([source.views.template] if isinstance(source.views, AskedViews) else []),
    ]


def steering(recipe: Recipe) -> list[str]:
    """The parents that answers have which are written for somebody."""
    return ["personas"] if isinstance(recipe.candidates, ModelCandidates) and recipe.candidates.steer else []


def draft_models(recipe: Recipe) -> list[str]:
    """Who answers and who reads in the rounds before everybody is asked."""
    return [*dict.fromkeys([*askable(recipe.candidates), recipe.judgements.model])] if recipe.agreement else []


def draft_templates(recipe: Recipe) -> list[str]:
    """What they are asked with."""
    return [*candidate_templates(recipe), *recipe.judgements.templates[:1]] if recipe.agreement else []


def selected(table: str, recipe: Recipe) -> list[str]:
    """The embedder, if rows of a table are chosen by their vectors."""
    return [EMBEDDER] if recipe.diversity and getattr(recipe.diversity, table) else []


def pilot_models(recipe: Recipe) -> list[str]:
    """Who looks ahead."""
    return [recipe.judgements.model] if recipe.pilot and (recipe.pilot.personas or recipe.pilot.rates) else []


def pilot_templates(recipe: Recipe) -> list[str]:
    """What a pilot asks with."""
    asked = [GENERIC] * recipe.pilot.rates + recipe.judgements.templates[: min(recipe.pilot.personas, 1)] if recipe.pilot else []
    return sorted(asked)


def control_models(recipe: Recipe) -> list[str]:
    """Who reads controls."""
    return [recipe.judgements.model] if recipe.controls else []


def control_templates(recipe: Recipe) -> list[str]:
    """What controls are read with."""
    controls = recipe.controls
    if controls is None:
        return []
    return [GENERIC] * controls.generic + (recipe.judgements.templates if controls.repeats or controls.shuffled else [])


def refiner(recipe: Recipe) -> str:
    """Name of the model that refines descriptions."""
    return (recipe.refinement and recipe.refinement.model) or recipe.judgements.model


def refinement_models(recipe: Recipe) -> list[str]:
    """Who refines."""
    return [refiner(recipe)] if recipe.refinement else []


def refinement_templates(recipe: Recipe) -> list[str]:
    """What is asked where a description may not decide."""
    return [recipe.refinement.template, recipe.refinement.append.template] if recipe.refinement else []


def export_templates(recipe: Recipe) -> list[str]:
    """What exports render."""
    few_shot = recipe.exports.fspo and recipe.exports.fspo.few_shot
    said = ["export/system"] if recipe.exports.trl and recipe.exports.trl.persona else []
    return said + ([f"fewshot/{few_shot.mode}"] if few_shot else [])


def exported(recipe: Recipe) -> list[str]:
    """What the exports show beside preferences and texts."""
    neural, wide = recipe.exports.neural_process, recipe.exports.personalllm
    labels = ["labels"] if recipe.exports.fedbiscuit else []
    vectors = ["embeddings", "comparisons"] if neural else []
    return labels + vectors + (["scores", "standards"] if wide or (neural and neural.users != "personas") else [])


def journaled_rewards(recipe: Recipe) -> list[str]:
    """The rewards whose scores are journaled, as they are called among the identities."""
    return [REWARD + name for name, reward in (recipe.rewards or {}).items() if reward.engine in ("transformers", "endpoint")]


def local_rewards(recipe: Recipe) -> list[str]:
    """The reward models that run in this process, if there are several: only one of them is in memory at a time."""
    local = [name for name, reward in sorted((recipe.rewards or {}).items()) if reward.engine == "transformers"]
    return local if len(local) > 1 else []


def rewards(recipe: Recipe) -> list[str]:
    """The identities of rewards that a model or a scorer gives."""
    return [REWARD + name for name, reward in sorted((recipe.rewards or {}).items()) if reward.engine != "file"]


def judges(recipe: Recipe) -> list[str]:
    """Who judges, if anybody is asked."""
    return [recipe.judgements.model] if recipe.asks else []


def target_models(recipe: Recipe) -> list[str]:
    """Who judges while a recipe asks until its target is met."""
    return judges(recipe) if recipe.target else []


def by_persona(recipe: Recipe) -> int:
    """Parts of tables that go by persona."""
    return recipe.shards.personas
