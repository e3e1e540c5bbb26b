"""The parts of benchmarks/fuzz.py: what is damaged, how, and what must survive it."""
