"""Models behind OpenAI-compatible servers.

engine.py  Endpoint: an Engine; threads on one side, one asyncio loop on the other      probe.py   what a server is and how letters are read
pool.py    which server gets a call, what heals, what waits                             limits.py  how many calls a server gets at once
wire.py    bodies and replies                                                           flood.py   one-token reads, straight over aiohttp
client.py  everything else, through the openai client                                   metrics.py prompt tokens computed and reused (vLLM)
ballot.py  votes, where there are no log-probabilities                                  loop.py    the asyncio loop and the way back from it
opening.py from a name in a recipe to an engine
"""
