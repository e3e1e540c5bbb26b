"""From a pruning plan to a physically smaller network."""
