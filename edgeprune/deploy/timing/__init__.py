"""The measuring protocol, its samples and its statistics."""
