"""The vocabulary: every row that touches disk, the recipe, the manifest. Everything else imports this; it imports nothing of ours.

persona.py     Persona, Trait            label.py     Judgement, Label, Preference, Rejected, TrlExample
prompt.py      Prompt                    manifest.py  Manifest and its entries
candidate.py   Candidate                 recipe.py    Recipe (what a person writes), Resolved (what was run)
comparison.py  Comparison, swap          splits.py    which split a label belongs to
record.py      pydantic -> Arrow         ids.py       content ids, counter-based random numbers      errors.py  InputError
"""
