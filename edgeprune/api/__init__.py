"""The Python interface, with the words and defaults of the commands."""

from edgeprune.api.files import check, doctor
from edgeprune.api.networks import load, slim

__all__ = ["check", "doctor", "load", "slim"]
