"""Channel dependency tracing: which channels must be pruned together."""
