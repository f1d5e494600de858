"""How long a training step takes.

It does not import this project: what it measures beside it (``benchmarks.speed.sides``) runs in processes without it.
"""
