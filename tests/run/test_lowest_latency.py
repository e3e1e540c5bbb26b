import pytest

from edgeprune.run import lowest_latency


def walked(floor):
    """What the walk asks where networks keep the accuracy down to a share, and what it finds."""
    asked = []

    def keeps(share):
        asked.append(share)
        return share >= floor

    return lowest_latency.lowest(keeps), asked


@pytest.mark.parametrize(
    ("floor", "found", "asked"),
    [
        (0.55, 0.55, [0.9, 0.8, 0.7, 0.6, 0.5, 0.55]),
        (0.56, 0.6, [0.9, 0.8, 0.7, 0.6, 0.5, 0.55]),
        (0.95, 0.95, [0.9, 0.95]),
        (0.99, None, [0.9, 0.95]),
        (0.0, 0.1, [0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1]),
    ],
)
def test_the_walk_stops_at_the_first_that_fails_and_tries_once_halfway_back(floor, found, asked):
    assert walked(floor) == (found, asked)
