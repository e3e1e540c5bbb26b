"""Search: strategies, what a candidate is worth, and the evolution under them."""
