"""The latency table: blocks timed once, any widths predicted."""
