"""Structured pruning carried out: from a pruning plan to a physically smaller network."""
