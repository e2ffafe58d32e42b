"""vLLM servers that prefloom starts itself: which one runs now (serving.py), one of them (server.py), and who ends it (guardian.py)."""
