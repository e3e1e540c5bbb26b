"""Multi-objective evolution that knows nothing of networks."""
