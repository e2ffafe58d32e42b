"""What can be measured on sets of answers without knowing who wrote them. Arrays are [prompt, answer, …]; all prompts have as many answers.

    within_share(scores)[PROPERTIES.index("humour")]   ->  0.43: so much of the variance lies between answers to one prompt
    explained(scores, predict(vectors, scores))        ->  errors and squares per prompt, whose ratio is 1 - R² within prompts

Answers are only ever compared with answers to the same prompt, so everything but `within_share` is of values less their prompt's mean.
"""

import re
from collections.abc import Sequence

import numpy as np

from prefloom.flows.dataset import heterogeneity_pairs as hp
from prefloom.flows.dataset.heterogeneity import Floats

PENALTIES = 10.0 ** np.arange(-3.0, 5.1)  # ridge penalties tried, for vectors of length one
FOLDS = 5
SENTENCE = 5  # words that a sentence has at least, to count as one
_END = re.compile(r"(?<=[.!?])\s+|\n+")
_MARKS = re.compile(r"^[\s\-*#>\d.)]+|[*_`]+")
_REFUSES = re.compile(r"\b(?:sorry|apologi[sz]e|i (?:cannot|can't|can not|won't)|unable to|not able to|as an ai)\b")


def centred(values: Floats) -> Floats:
    """Less the mean of the prompt."""
    return np.asarray(values - values.mean(axis=1, keepdims=True))


def within_share(values: Floats) -> Floats:
    """The within-prompt share of variance, per property: W / (W + B), from the mean squares of a one-way analysis with random effects.

    W is the mean square within prompts, B what prompts add: (mean square between - W) / answers, which chance can bring below 0: cut.
    """
    prompts, answers = values.shape[:2]
    within = (centred(values) ** 2).sum(axis=(0, 1)) / (prompts * (answers - 1))
    between = answers * ((values.mean(axis=1) - values.mean(axis=(0, 1))) ** 2).sum(axis=0) / (prompts - 1)
    return np.asarray(within / (within + np.maximum((between - within) / answers, 0.0)))


def within_sd(values: Floats) -> Floats:
    """Standard deviation between answers to one prompt, per property."""
    return np.asarray(np.sqrt((centred(values) ** 2).sum(axis=(0, 1)) / (values.shape[0] * (values.shape[1] - 1))))


def correlation(one: Floats, other: Floats) -> Floats:
    """Correlation within prompts, per property."""
    a, b = centred(one), centred(other)
    norms = np.sqrt((a**2).sum(axis=(0, 1)) * (b**2).sum(axis=(0, 1)))
    return np.asarray((a * b).sum(axis=(0, 1)) / np.maximum(norms, 1e-12))


def covariances(values: Floats) -> Floats:
    """[prompt, property, property]: how properties vary together within a prompt."""
    apart = centred(values)
    return np.asarray(np.einsum("pai,paj->pij", apart, apart) / (values.shape[1] - 1))


def participation(covariance: Floats, weights: Floats | None = None) -> float:
    """(sum of eigenvalues)² / sum of their squares: how many directions there are in effect. With weights [person, property], of utilities.

    Of the identity it is its size; of one direction alone it is 1.
    """
    product = covariance if weights is None else covariance @ (weights.T @ weights)
    return float(np.trace(product) ** 2 / np.trace(product @ product))


def gaps(utilities: Floats) -> Floats:
    """[person, prompt, answer] -> |Δu| of all pairs, [person, prompt, pair]."""
    return np.abs(hp.log_odds_of(utilities))


def decided_alike(utilities: Floats, read: Floats) -> Floats:
    """[person, prompt]: share of pairs of answers that both order alike. What the truth does not order is left out, a tie read is half."""
    true, seen = np.sign(hp.log_odds_of(utilities)), np.sign(hp.log_odds_of(read))
    ordered = true != 0
    return np.asarray((ordered * (1 + true * seen) / 2).sum(axis=-1) / np.maximum(ordered.sum(axis=-1), 1))


def predict(vectors: Floats, targets: Floats, folds: int = FOLDS) -> Floats:
    """What a ridge regression on the vectors says of each target within prompts, for prompts that it has not seen.

    Prompts are dealt to folds in turn. Each fold's regression takes, per target, the penalty with the least generalised cross-validation
    error on its own training prompts; degrees of freedom that go with the prompts' means are counted.
    """
    x, y = centred(vectors), centred(targets)
    found = np.empty_like(y)
    for fold in range(folds):
        held = np.arange(len(x)) % folds == fold
        a, b = (part[~held].reshape(-1, part.shape[2]) for part in (x, y))
        free = (~held).sum() * (x.shape[1] - 1)
        values, turn = np.linalg.eigh(a.T @ a)
        values, seen = np.maximum(values, 0.0)[:, None], turn.T @ (a.T @ b)
        best, coefficients = np.full(b.shape[1], np.inf), np.zeros_like(seen)
        for penalty in PENALTIES:
            shrunk = seen / (values + penalty)
            left = (b**2).sum(axis=0) - (2 * shrunk * seen - values * shrunk**2).sum(axis=0)
            error = left / max(free - (values / (values + penalty)).sum(), 1.0) ** 2
            coefficients = np.where(error < best, shrunk, coefficients)
            best = np.minimum(best, error)
        found[held] = x[held] @ (turn @ coefficients)
    return found


def explained(targets: Floats, predicted: Floats) -> tuple[Floats, Floats]:
    """(squared errors, squares) per prompt and target; R² is 1 - the ratio of their sums."""
    y = centred(targets)
    return ((y - predicted) ** 2).sum(axis=1), (y**2).sum(axis=1)


def cosines(vectors: Floats) -> tuple[Floats, Floats]:
    """(mean cosine of two answers to the prompt, mean cosine of an answer to it and one to another), per prompt."""
    unit = vectors / np.maximum(np.linalg.norm(vectors, axis=2, keepdims=True), 1e-12)
    prompts, answers = unit.shape[:2]
    sums = unit.sum(axis=1)
    own = ((sums**2).sum(axis=1) - answers) / (answers * (answers - 1))
    others = (sums @ (sums.sum(axis=0) - sums).T).diagonal() / (answers**2 * max(prompts - 1, 1))
    return np.asarray(own), np.asarray(others)


def sentences(text: str) -> list[str]:
    """The sentences of a text, without the marks of lists and headings, in small letters; those of few words are left out."""
    found = (_MARKS.sub("", part).strip().lower() for part in _END.split(text))
    return [part for part in found if len(part.split()) >= SENTENCE]


def repeated(answers: Sequence[Sequence[str]]) -> tuple[Floats, Floats]:
    """Share of sentences that (another answer to the prompt, an answer to another prompt) has word for word, per prompt."""
    places: dict[str, set[tuple[int, int]]] = {}
    said = [[sentences(text) for text in row] for row in answers]
    for p, row in enumerate(said):
        for a, parts in enumerate(row):
            for part in parts:
                places.setdefault(part, set()).add((p, a))
    here, elsewhere = np.zeros(len(said)), np.zeros(len(said))
    for p, row in enumerate(said):
        total = max(sum(map(len, row)), 1)
        for a, parts in enumerate(row):
            here[p] += sum(any(q == p and b != a for q, b in places[part]) for part in parts) / total
            elsewhere[p] += sum(any(q != p for q, _ in places[part]) for part in parts) / total
    return here, elsewhere


def refuses(text: str) -> bool:
    """Whether the opening apologises or says that it cannot; some of these go on to answer."""
    return bool(_REFUSES.search(text[:150].lower().replace("\u2019", "'")))


def equal(answers: Sequence[Sequence[str]]) -> Floats:
    """Share of answers that another answer to the prompt equals, per prompt."""
    return np.array([np.mean([row.count(text) > 1 for text in row]) for row in answers])
