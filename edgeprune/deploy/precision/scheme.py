"""The quantisation scheme that an instruction set runs fast: types of activations and weights."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

SchemeName = Literal["u8s8", "u8s7", "s8s8", "s8s7"]
# Instructions that add four products of uint8 and int8 without overflow.
_EXACT_X86 = ("avx512_vnni", "avx_vnni")
_DOT_ARM = ("asimddp", "i8mm")


@dataclass(frozen=True)
class Scheme:
    """How numbers are kept; weights are int8, one scale for each output channel.

    Attributes:
        activations: Type of the activations.
        reduced: Weights take 7 bits: without VNNI, x86 adds two products of uint8 and int8 in
            16 bits, which overflow otherwise.
    """

    activations: Literal["uint8", "int8"] = "uint8"
    reduced: bool = False

    @property
    def name(self) -> SchemeName:
        """Short name: ``u8s7`` are uint8 activations and weights of 7 bits."""
        if self.activations == "uint8":
            return "u8s7" if self.reduced else "u8s8"
        return "s8s7" if self.reduced else "s8s8"


def scheme_for(machine: Mapping[str, Any], wanted: str = "auto") -> Scheme:
    """The scheme for a device.

    onnxruntime on x86 has integer convolutions for uint8 activations alone; on Arm with dot
    products int8 is as fast, and its zero point costs nothing.

    Args:
        machine: The facts of the device; ``arch`` and ``isa`` decide.
        wanted: ``auto``, ``u8s8`` or ``s8s8``, as the target says.
    """
    flags = set(machine.get("isa") or ())
    arm = str(machine.get("arch", "")).lower() in ("aarch64", "arm64")
    activations: Literal["uint8", "int8"] = "uint8"
    if wanted == "s8s8" or (wanted == "auto" and arm and flags.intersection(_DOT_ARM)):
        activations = "int8"
    return Scheme(activations, reduced=not arm and not flags.intersection(_EXACT_X86))
