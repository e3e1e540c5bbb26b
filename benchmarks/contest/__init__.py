"""The parts of ``benchmarks/peers.py``: what is compared, with whom, and what came out."""
