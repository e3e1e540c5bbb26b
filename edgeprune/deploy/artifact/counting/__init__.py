"""How much a model costs, counted from its graph."""
