"""From a dense model to a slim, recovered one; needs torch."""
