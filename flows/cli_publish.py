"""The commands that pass datasets on: publish one, compare two.

prefloom publish data/runs/demo-… --repo-id me/prefs        prefloom diff data/runs/demo-… data/runs/larger-…
"""

import os
from typing import TYPE_CHECKING, Annotated, cast

import typer

from prefloom.flows.cli_common import AsJson, Dataset, say

if TYPE_CHECKING:
    from prefloom.flows.publish import Release


def publish(
    dataset: Dataset,
    repo_id: Annotated[str, typer.Option("--repo-id", help="Where to: owner/name on the Hub.")],
    public: Annotated[bool, typer.Option("--public", help="For everybody to see; else only its owner does.")] = False,
    tag: Annotated[str | None, typer.Option("--tag", help="Name of this version, such as v1.0.0.")] = None,
    revision: Annotated[str, typer.Option("--revision", help="Branch.")] = "main",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check, and say what would be sent; ask the Hub nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Publish a dataset on the Hugging Face Hub.

    Validates it first, settles licences and looks for secrets; then sends the files and makes one commit of them, with a card, so that
    load_dataset reads it. Nothing is to be seen before that commit, and the same run again changes nothing. The token comes from HF_TOKEN
    or `hf auth login`.

    \b
      prefloom publish data/runs/demo-b10794099e1f --repo-id me/prefs --tag v1.0.0
    """
    from prefloom.flows import policies
    from prefloom.flows.local_server import local_server

    policies.apply_environment()
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    from prefloom.flows import publish as publishing

    publishing.expect_tag(tag)
    ready = publishing.prepare(dataset, public)
    if dry_run:
        planned = publishing.plan(ready, public)
        say(as_json, {"status": "dry run"} | planned, publishing.text(planned, planned["files"]))
        return
    with local_server():
        done = cast("Release", publishing.publish_dataset(dataset, repo_id, public, tag, revision))
    named = f", tagged {done['tag']}" if done["tag"] else ""
    verb = "published" if done["changed"] else "is there already; nothing to do:"
    say(as_json, {"status": "published"} | done, f"{done['dataset']} {verb} {done['url']} at {done['commit'][:12]}{named}")


def diff(
    old: Annotated[str, typer.Argument(help="A run folder, or hf://datasets/owner/name@tag.")],
    new: Annotated[str, typer.Argument(help="Another.")],
    as_json: AsJson = False,
) -> None:
    """Say what differs between two datasets.

    Rows of each table, labels that changed their sign or margin, consistency, who the personas are, which groups changed their minds, how
    diverse the texts are where there are vectors, and what was changed in the recipe.
    """
    from prefloom.flows.dataset.diff import diff as compare
    from prefloom.flows.dataset.diff_text import text
    from prefloom.flows.dataset.store import Store

    found = compare(Store(old), Store(new))
    say(as_json, found, text(found))
