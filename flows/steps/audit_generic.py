"""Are labels about their persona, or about people in general? Held against the truth, beside the reading that knows of nobody.

    beside(evidence, target)  ->  {"label": {"value": 0.74, …}, "generic": {"value": 0.61, …}, "gain": {"value": 0.13, …},
                                   "differs": {"value": 0.38, …}, "label_where_they_differ": {"value": 0.67, …}, …}

Where both name the same answer they are right or wrong together; the gain is made where they differ. A dataset whose labels are right there
half of the time or less teaches the average, whatever its persona's descriptions say.
"""

import numpy as np

from prefloom.flows.steps import audit_measures as measures
from prefloom.flows.steps.audit_evidence import Evidence, Floats


def beside(mine: Evidence, target: Floats) -> measures.Row | None:
    """Labels and p_generic on the same rows; None for a dataset without. Intervals from resampling prompts; ties count one half."""
    known = np.isfinite(mine.generic)
    if not known.any():
        return None
    margin, leaning, prompt = mine.margin[known], mine.generic[known] - 0.5, mine.prompt[known]
    label, generic = measures.score(margin, target[known]), measures.score(leaning, target[known])
    apart = np.sign(margin) * np.sign(leaning) < 0
    nowhere = np.where(apart, 0.0, np.nan)  # nan is not counted
    return measures.shares(
        {
            "label": label,
            "generic": generic,
            "gain": label - generic,
            "differs": apart.astype(np.float64),
            "label_where_they_differ": label + nowhere,
            "generic_where_they_differ": generic + nowhere,
        },
        prompt,
    )
