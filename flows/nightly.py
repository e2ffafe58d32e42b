"""One night: build with more personas or prompts than the night before, publish, and let the event of it start a training.

    nightly("demo", grow="personas.0.count=+50", repo_id="me/demo")
        first night    200 personas, 78,460 calls asked       -> data/runs/demo-b107…/, me/demo
        second night   250 personas, 19,540 asked, the other 78,460 from the journal

What is on disk decides how far it is (steps/growth.py): a night that was killed is gone on with at the same size, one that was built but
not published is published, and a night with nothing to do does nothing. `prefloom serve` and flows/prefect.yaml put it on a schedule.
"""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import cast

from prefect import flow
from prefect.artifacts import create_table_artifact
from prefect.client.schemas import State
from prefect.runtime import flow_run
from prefect.states import Completed

from prefloom.flows import policies
from prefloom.flows.build import Summary, build_dataset, outcome
from prefloom.flows.publish import Release, publish_dataset
from prefloom.flows.steps.growth import Growth, Night, latest

logger = logging.getLogger("prefloom")


def _name() -> str:
    return f"nightly {Path(str(flow_run.parameters['recipe'])).stem}"


@flow(name="nightly", flow_run_name=_name, persist_result=False)
def nightly(
    recipe: str,
    out: str = "data",
    overrides: Sequence[str] = (),
    grow: str | None = None,
    at_most: int | None = None,
    repo_id: str | None = None,
    public: bool = False,
    revision: str = "main",
) -> State[None]:
    """Build the next size of a recipe's dataset and publish it; nothing is asked that the journal knows.

    Args:
        recipe: A recipe file, or the name of a recipe that ships with prefloom.
        out: Folder that holds runs/ and journal/.
        overrides: Values that differ from the recipe, such as run.workers=8.
        grow: What is more than the night before, such as personas.0.count=+50. Empty builds the recipe as it is.
        at_most: Where growing ends.
        repo_id: Dataset repository on the Hugging Face Hub, such as me/demo. Empty publishes nothing.
        public: Let everybody see the repository; only what a licence allows.
        revision: Branch that is published to.
    """
    logger.setLevel(logging.INFO)  # onto the page of the run
    night: Night | None = latest(recipe, Path(out), overrides, Growth.parse(grow, at_most) if grow else None)
    assert night
    if night.is_finished():
        if repo_id and _publish(night, repo_id, public, revision):
            return _ended(night, {}, f"published what was built before at {repo_id}")
        night = night.grown()
    if night is None:
        return Completed(message="nothing to do: all that is wanted is built" + (" and published" if repo_id else ""))
    logger.info("tonight: %s", night.describe())
    done = build(night)
    if repo_id:
        _publish(night, repo_id, public, revision)
    return _ended(night, done, f"published at {repo_id}" if repo_id else "not published")


def build(night: Night) -> Summary:
    """Build it as its recipe says: with its workers, under the name of its run folder."""
    runner = policies.task_runner(night.run.resolved.recipe.run)
    flow_of_it = build_dataset.with_options(task_runner=runner, flow_run_name=night.run.name)
    return cast(Summary, flow_of_it(night.recipe, str(night.out), night.overrides))


def _publish(night: Night, repo_id: str, public: bool, revision: str) -> bool:
    """Whether there was anything to publish."""
    return cast(Release, publish_dataset(str(night.run.folder), repo_id, public, None, revision))["changed"]


def _ended(night: Night, done: Summary, what: str) -> State[None]:
    """What the page of the run says: the size, what was asked and what came from the journal."""
    asked, known = (sum(getattr(report, name) for report in done.values()) for name in ("asked", "from_journal"))
    row = {"night": night.describe(), "rows": outcome(night.run), "asked": f"{asked:,}", "from the journal": f"{known:,}", "": what}
    create_table_artifact(key=f"{night.run.resolved.recipe.name}-nights", table=[row], description=f"A night of {night.recipe}")
    message = f"{night.describe()}: {outcome(night.run)}, asked {asked:,}, {known:,} from the journal, {what}"
    logger.info("%s", message)
    return Completed(message=message)
