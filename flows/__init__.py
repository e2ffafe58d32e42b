"""What runs. The main path is `build.py`: personas -> prompts -> candidates -> comparisons -> judgements -> labels -> preferences
-> exports -> manifest. Only the files directly in this folder import Prefect; the folders below are plain Python.

    dataset/   what is kept        engines/   who answers        steps/   how each stage is done
"""
