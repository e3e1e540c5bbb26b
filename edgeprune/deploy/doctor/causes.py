"""All causes that are looked for in a file, and what they see, the largest stake first."""

from edgeprune.deploy.doctor import in_graph, in_profile
from edgeprune.deploy.doctor.case import Case
from edgeprune.deploy.doctor.findings import Suspect

CAUSES = (
    in_graph.off_grid_channels,
    in_graph.weights_as_inputs,
    in_graph.denormal_weights,
    in_graph.exporter_clutter,
    in_graph.open_axes,
    in_graph.mean_instead_of_pooling,
    in_graph.grouped_convolutions,
    in_profile.layout_reorders,
    in_profile.float_islands,
    in_profile.another_provider,
    in_profile.dominant_layer,
)


def suspects(case: Case) -> list[Suspect]:
    """Everything that is seen, the largest time at stake first."""
    found = [suspect for cause in CAUSES for suspect in cause(case)]
    return sorted(found, key=lambda suspect: -suspect.stake_ms)
