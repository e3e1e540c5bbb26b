"""How many threads does a short calculation take?"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def one_thread() -> Iterator[None]:
    """Torch on one CPU thread within; a decorator too. About 3 microseconds.

    Small operators, thousands of them a second, gain little from a second thread, and nearly
    stand still where another process keeps its core: every one of them waits at a barrier.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
