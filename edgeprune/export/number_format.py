"""Ships a network in the number format of its target: fp32, or int8 beside its twin in fp32."""

from dataclasses import replace
from pathlib import Path

from edgeprune.deploy.gate.integers import twin_of
from edgeprune.export.exported import Exported
from edgeprune.export.file_options import FileOptions
from edgeprune.export.int8_request import Int8Request, quantise, refuse_no_gain
from edgeprune.export.sealed_file import Shipped, ship
from edgeprune.files import refuse_existing
from edgeprune.prune.models.checkpoint import Checkpoint
from edgeprune.target import TargetProfile


def ship_as_asked(
    network: Exported,
    record: Checkpoint,
    target: TargetProfile,
    out: Path,
    *,
    overwrite: bool,
    options: FileOptions,
) -> Shipped:
    """Ship fp32, or quantise, ship both and time them against each other.

    Args:
        network: The network as exported in fp32.
        record: Its checkpoint.
        target: Its ``precision.mode`` decides.
        out: The ONNX file.
        overwrite: Replace ``out`` and its twin.
        options: What else is asked of the file.

    Raises:
        InputError: a file exists, or the calibration images are not as they should be.
        PromiseError: the file does not give torch's answers, is not int8 enough, or not faster
            than in fp32.
    """
    if target.precision.mode != "int8":
        return ship(network, record, target, out, overwrite=overwrite, options=options)
    for path in (out, twin_of(out)):
        refuse_existing(path, overwrite=overwrite)
    request = options.int8 or Int8Request()
    made, judged = quantise(network.proto, record, target, request)
    plain = replace(options, ort=False)
    twin = ship(network, record, target, twin_of(out), overwrite=overwrite, options=plain)
    in_int8 = replace(network, int8=made, twin_sha256=twin.sha256)
    shipped = ship(in_int8, judged, target, out, overwrite=overwrite, options=options)
    gain = refuse_no_gain(out, target, request.device)
    fidelity = made.quantised.fidelity
    said = (
        f"int8 ({made.quantised.scheme.name}, {made.quantised.method}): "
        f"{made.kernels.describe()}; {fidelity.sqnr_db:.1f} dB and {fidelity.top1_agreement:.1%} "
        f"of the classes as in fp32 on {fidelity.images} calibration images; {gain}"
    )
    return replace(shipped, said=(said,))
