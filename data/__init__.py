"""Small files that ship: seeds, recipes, the society's prose. Runs, journal and truth lie beside them and never ship."""
