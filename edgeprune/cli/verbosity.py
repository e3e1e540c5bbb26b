"""How much a command says: quiet, as usual, or with every event of a run."""

import logging
import sys
from dataclasses import dataclass


@dataclass
class Verbosity:
    """What -q and -v of this command line ask for.

    Attributes:
        quiet: Results and errors alone, without progress and notes.
        verbose: Every event of a run, and where an internal error comes from.
    """

    quiet: bool = False
    verbose: bool = False

    def reset(self) -> None:
        """As usual, for the next command line."""
        self.quiet = self.verbose = False
        logging.getLogger("edgeprune").handlers = []

    def tell(self, line: str) -> None:
        """Write a note to stderr, unless that is not wanted."""
        if not self.quiet:
            sys.stderr.write(f"edgeprune: {line}\n")

    def listen(self) -> None:
        """From now on every event of a run is a line on stderr."""
        self.verbose = True
        logger = logging.getLogger("edgeprune")
        logger.setLevel(logging.INFO)
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
        logger.handlers = [handler]


verbosity = Verbosity()  # of the process, as its stderr is
