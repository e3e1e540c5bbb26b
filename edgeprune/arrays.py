"""Names of array types; shapes use P genomes, G channel groups, C channels, M objectives."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Floats32 = NDArray[np.float32]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Pixels = NDArray[np.uint8]

Genome = Ints
"""Genes of one candidate, shape (genes,)."""
Genomes = Ints
"""Genes of a population, shape (P, genes)."""
Widths = Ints
"""Kept channels per group, shape (G,) or (P, G)."""
