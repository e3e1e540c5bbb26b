"""Which convolutions are on the blocked layout, on made graphs and on onnxruntime's own."""

from collections.abc import Callable

from edgeprune.deploy.kernels import layout

Graph = Callable[..., bytes]
NCHWC = "com.microsoft.nchwc"


def test_layout_names_plain_convolutions_and_reorders(graph: Graph) -> None:
    found = layout(graph(NCHWC, "", NCHWC, reorders=["gap"]))
    assert found.blocked == ("conv0", "conv2")
    assert found.plain == ("conv1",)
    assert found.reorders == ("after gap",)
    assert found.operators == {"Conv": 3, "ReorderOutput": 1}
    assert found.describe() == "2 of 3 blocked; plain: conv1; reorders: after gap"


def test_left_is_what_the_reference_keeps(graph: Graph) -> None:
    reference = layout(graph(NCHWC, NCHWC, ""))
    assert layout(graph(NCHWC, "", "")).left(reference) == ("conv1",)
    assert layout(graph(NCHWC, NCHWC, "")).left(reference) == ()


def test_a_machine_without_the_layout_has_none_to_leave(graph: Graph) -> None:
    assert layout(graph("", "")).left(layout(graph("", ""))) == ()
    assert layout(graph("", "", "")).left(layout(graph(""))) == ()
