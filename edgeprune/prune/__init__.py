"""The prune wing, from a dense model to a slim, recovered one; needs torch."""
