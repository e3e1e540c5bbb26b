"""How images are named that were passed in Python; without torch, for the report."""

from typing import Final

IN_MEMORY: Final = "in memory: "
"""Begins the name of images that no name or folder leads to."""
UNMIRRORED: Final = " (not mirrored)"
"""Ends it where a mirrored image does not show its class."""
