"""Adaptive reading: a further template only for those (persona, comparison) that are neither clear nor hopeless yet.

    recipe      judgements: {templates: [judge/pairwise, judge/choice, judge/reader], adaptive: {keep: 1.25, spread: 1.0}}
    template 1  margin 4.1 for p1: clear, no more is asked          margin 0.9 for p2: may still be kept, or not
    template 2  asked of p2 alone, and so on, up to `most` templates

Whether more is asked hangs on what was read of this persona and this comparison, and on the recipe: not on other people, nor on how many
shards there are. A template of which an order could not be read counts as not read. Comparisons are read some at a time, each to its
end, because a session forgets what was long ago.

    progress = Progress(recipe.judgements)
    for template in templates: for reading in progress.wave(comparisons, template): progress.take(reading, log_odds of its reply)
"""

from collections.abc import Iterator, Sequence

from prefloom.schemas.checks import Judgements
from prefloom.schemas.comparison import Comparison
from prefloom.schemas.reading import GRID


class Progress:
    """What has been read of some comparisons."""

    def __init__(self, judgements: Judgements) -> None:
        assert judgements.adaptive, "a recipe without adaptive reading asks everything at once"
        self._rule, self._templates = judgements.adaptive, judgements.templates
        self._half: dict[tuple[str, str, str], int] = {}  # (comparison, persona, template) -> log-odds for a in the order read first
        self._read: dict[tuple[str, str], tuple[int, int]] = {}  # sum of log-odds for a over both orders, whole templates

    def wave(self, comparisons: Sequence[Comparison], template: str) -> Iterator[tuple[Comparison, str, str]]:
        """Readings under this template: of everybody if it is among the first, else of those about whom too little is known."""
        everybody = self._templates.index(template) < self._rule.first
        open_ = {
            comparison.comparison_id: [
                persona for persona in comparison.persona_ids if everybody or not self.enough(comparison.comparison_id, persona)
            ]
            for comparison in comparisons
        }
        for comparison in comparisons:
            for shown in (comparison, comparison.swap()):
                for persona in open_[comparison.comparison_id]:
                    yield shown, template, persona

    def enough(self, comparison_id: str, persona_id: str) -> bool:
        """Whether nothing more has to be read."""
        return self._rule.enough(*self._read.get((comparison_id, persona_id), (0, 0)), len(self._templates))

    def take(self, reading: tuple[Comparison, str, str], log_odds: float) -> None:
        """Count what was read, for the answer shown first."""
        comparison, template, persona_id = reading
        steps = round(log_odds / GRID) * (1 if comparison.order == "ab" else -1)
        key, half = (comparison.comparison_id, persona_id), (comparison.comparison_id, persona_id, template)
        if half in self._half:
            total, whole = self._read.get(key, (0, 0))
            self._read[key] = (total + self._half.pop(half) + steps, whole + 1)
        else:
            self._half[half] = steps


def batches(comparisons: Sequence[Comparison], each: int, most: int) -> Iterator[list[Comparison]]:
    """Comparisons of at most `most` readings, `each` of a persona, or one that has more; a session remembers that much."""
    batch: list[Comparison] = []
    size = 0
    for comparison in comparisons:
        readings = each * len(comparison.persona_ids)
        if batch and size + readings > most:
            yield batch
            batch, size = [], 0
        batch.append(comparison)
        size += readings
    if batch:
        yield batch
