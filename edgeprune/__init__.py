"""edgeprune: the fastest model that keeps its accuracy on a named edge device, measured."""

from importlib.metadata import version

__version__ = version("edgeprune")
