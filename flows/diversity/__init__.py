"""How far apart texts are: vectors in, choices and measures out. Plain functions on arrays; no files, no models, no recipe.

grid.py     exact cosines: the same bits on every machine        near.py    near-duplicates: which row repeats which
spread.py   the most different rows, strata balanced             measure.py Vendi score, and a plane to look at
informative.py which pairs of answers to ask about
"""
