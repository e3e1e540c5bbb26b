"""The gate: every budget of a target judged, and the report written."""
