"""What a deployer may ask of an exported file."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from edgeprune.deploy.devices.job import OPSET
from edgeprune.export.int8_request import Int8Request


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
        precision: What takes the place of the target's ``precision`` table, by its keys.
        int8: Images that it is quantised on, and its device, where it is to be int8.
    """

    dynamic_batch: bool = False
    opset: int = OPSET
    ort: bool = False
    parity_images: int | None = None
    licence: str | None = None
    model_version: int = 0
    precision: Mapping[str, Any] = field(default_factory=dict)
    int8: Int8Request | None = None


PLAIN = FileOptions()
