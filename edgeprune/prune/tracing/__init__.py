"""Channel dependency tracing: which channels live or die together."""
