"""What is kept: how bytes reach the disk and how a folder becomes a dataset.

store.py   publish a file so that it exists whole or not at all      journal.py   every model call ever paid for
tables.py  records <-> Parquet                                       lock.py      one build per run folder
stages.py  what each stage is made of, which are fresh               shards.py    one shard of one stage
run.py     where a run's files lie                                   manifest.py  the list that makes files a dataset
resolve.py recipe file -> resolved recipe                            inputs.py    rows of the user's own files
validate.py, invariants.py  is this dataset what it says             show.py      a few rows for a reader
executions.py  what each execution did, and when
"""
