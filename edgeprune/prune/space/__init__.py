"""The pruning space: legal widths, plans, limits and exact counts."""
