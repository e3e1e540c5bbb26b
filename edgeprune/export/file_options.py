"""What a deployer may ask of an exported file."""

from dataclasses import dataclass

from edgeprune.deploy.devices.job import OPSET


@dataclass(frozen=True, kw_only=True)
class FileOptions:
    """What is asked of a file.

    Attributes:
        dynamic_batch: It takes any number of images.
        opset: Version of its operators.
        ort: The same network in ORT format lies beside it.
        parity_images: How many real images travel inside; all that there are by default.
        licence: What it may be used for, such as ``Apache-2.0``.
        model_version: Number of the release.
    """

    dynamic_batch: bool = False
    opset: int = OPSET
    ort: bool = False
    parity_images: int | None = None
    licence: str | None = None
    model_version: int = 0


PLAIN = FileOptions()
