"""How each stage is done: one file per stage, plain functions from a ShardJob to a ShardReport. No Prefect here.

personas.py  prompts.py  candidates.py  comparisons.py  judgements.py  labels.py  preferences.py  exports.py
freshness.py which stages are fresh, what they are made of
forecast.py  what a build will need, before anything is spent; forecast_*.py its answers, readings, rows, bytes and text
texts.py     small questions about texts: normal form, script, refusal
"""
