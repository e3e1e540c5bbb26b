"""The number formats that an instruction set runs fast."""

import pytest

from edgeprune.deploy.precision.scheme import scheme_for


@pytest.mark.parametrize(
    ("arch", "isa", "wanted", "name"),
    [
        ("x86_64", ["avx2", "avx512f", "avx512_vnni"], "auto", "u8s8"),
        ("x86_64", ["avx2", "avx_vnni"], "auto", "u8s8"),
        ("x86_64", ["avx2", "avx512f"], "auto", "u8s7"),  # two products overflow 16 bits
        ("x86_64", [], "s8s8", "s8s7"),
        ("aarch64", ["asimd", "asimddp"], "auto", "s8s8"),
        ("aarch64", ["asimd"], "auto", "u8s8"),
        ("aarch64", ["asimd", "asimddp"], "u8s8", "u8s8"),
        ("riscv64", None, "auto", "u8s7"),
    ],
)
def test_the_instruction_set_decides(arch: str, isa: list[str], wanted: str, name: str) -> None:
    assert scheme_for({"arch": arch, "isa": isa}, wanted).name == name
