"""The sealed file: what goes in comes out, what is changed is found, no path stays in it."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgeprune.deploy.artifact import parity_samples, seal
from edgeprune.deploy.artifact.provenance import Provenance
from edgeprune.errors import InputError, MachineError, PromiseError

SHA = "a" * 64


def tiny_model() -> onnx.ModelProto:
    weight = np.arange(12, dtype=np.float32).reshape(4, 3, 1, 1)
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["input", "w"], ["c"], name="conv"),
            helper.make_node("GlobalAveragePool", ["c"], ["p"]),
            helper.make_node("Flatten", ["p"], ["logits"], axis=1),
        ],
        "main",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, 8, 8])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, 4])],
        [numpy_helper.from_array(weight, "w")],
    )
    opset = helper.make_opsetid("", 20)
    return helper.make_model(graph, ir_version=10, opset_imports=[opset])


def provenance(**changes: object) -> Provenance:
    pixels = np.arange(4 * 3 * 8 * 8, dtype=np.uint8).reshape(4, 3, 8, 8)
    values: dict[str, object] = {
        "version": "0.1.0",
        "model": "123",
        "plan": {"schema": 1, "model": "resnet20", "kept": {"layer1.0": [0, 2]}},
        "target": "mobile-cpu",
        "target_sha256": SHA,
        "input_shape": (3, 8, 8),
        "mean": (0.485, 0.456, 0.406),
        "std": (0.229, 0.224, 0.225),
        "classes": ("Katze", "犬", 'a "quoted"\nname'),
        "macs": 40_551_232,
        "params": 269_722,
        "accuracy_dense": 0.85,
        "dense_sha256": SHA,
        "versions": {"torch": "2.15.0"},
        "parity": parity_samples.pack(pixels, np.linspace(-1, 1, 16).reshape(4, 4)),
    }
    return Provenance.model_validate({**values, **changes})


@pytest.fixture
def sealed(tmp_path: Path) -> Path:
    path = tmp_path / "model.onnx"
    seal.write(path, tiny_model(), provenance())
    return path


def edit(path: Path, change) -> None:
    proto = onnx.load(path)
    change(proto)
    path.write_bytes(proto.SerializeToString())


def set_entry(key: str, value: str):
    def change(proto):
        for entry in proto.metadata_props:
            if entry.key == key:
                entry.value = value
                return
        proto.metadata_props.add(key=key, value=value)

    return change


def drop_entries(prefix: str):
    def change(proto):
        kept = [(e.key, e.value) for e in proto.metadata_props if not e.key.startswith(prefix)]
        del proto.metadata_props[:]
        for key, value in kept:
            proto.metadata_props.add(key=key, value=value)

    return change


def test_what_is_written_is_read_back(sealed):
    assert seal.read(sealed) == provenance()
    assert seal.verify(sealed) == provenance()
    onnx.checker.check_model(onnx.load(sealed), full_check=True)


def test_every_field_survives(tmp_path):
    answers = {"both": 80, "dense": 5, "slim": 0, "neither": 15}
    full = provenance(
        accuracy_slim=0.8,
        answers=answers,
        checkpoint_sha256=SHA,
        precision="int8",
        quantisation={
            "scheme": "u8s8",
            "method": "minmax",
            "calibration_images": 128,
            "calibration_sha256": SHA,
            "sqnr_db": 35.1,
            "agreement": 0.99,
            "integer_convolutions": 21,
            "float_convolutions": ["犬"],
            "twin_sha256": SHA,
        },
        channel_order="RGB",
        resize="none",
        licence="123",  # a text, whatever it looks like
        dense_widths={"conv": 8},
        outputs={
            "images": 100,
            "errors": {"犬": {"error": 0.1, "low": 0.05, "high": 0.2, "agreement": 0.99}},
        },
        score={"name": "iou", "dense": 0.7, "slim": 0.69},
    )
    assert full.model_fields_set | {"schema_"} == set(Provenance.model_fields)
    seal.write(tmp_path / "model.onnx", tiny_model(), full)
    assert seal.read(tmp_path / "model.onnx") == full


def test_entries_are_plain_text_and_json(sealed):
    entries = {e.key: e.value for e in onnx.load(sealed).metadata_props}
    assert entries["edgeprune.model"] == "123"
    assert entries["edgeprune.macs"] == "40551232"
    assert entries["edgeprune.input_shape"] == "[3,8,8]"
    assert "犬" in entries["edgeprune.classes"]
    assert "edgeprune.accuracy_slim" not in entries


def test_the_returned_hash_is_that_of_the_file(tmp_path):
    path = tmp_path / "dense.onnx"
    assert seal.write(path, tiny_model(), provenance()) == seal.file_sha256(path)


def test_sealing_leaves_the_given_model_alone():
    model = tiny_model()
    before = model.SerializeToString()
    seal.seal(model, provenance())
    assert model.SerializeToString() == before


def test_sealing_again_replaces_everything_that_was_recorded():
    once = seal.seal(tiny_model(), provenance(macs=1))
    set_entry("edgeprune.measured.p50_ms", "0.9")(once)
    assert seal.seal(once, provenance()) == seal.seal(tiny_model(), provenance())


def _flip_weight(proto):
    array = numpy_helper.to_array(proto.graph.initializer[0]).copy()
    array.flat[0] = np.nextafter(array.flat[0], np.float32(1))
    proto.graph.initializer[0].CopyFrom(numpy_helper.from_array(array, "w"))


def _add_stride(proto):
    proto.graph.node[0].attribute.append(helper.make_attribute("strides", [2, 2]))


def _change_opset(proto):
    proto.opset_import[0].version = 19


@pytest.mark.parametrize(
    ("change", "part"),
    [
        (_flip_weight, "weights"),
        (_add_stride, "graph"),
        (_change_opset, "graph"),
        (set_entry("edgeprune.macs", "1"), "provenance"),
        (set_entry("edgeprune.accuracy_slim", "0.99"), "provenance"),
        (drop_entries("edgeprune.plan"), "provenance"),
        (set_entry("edgeprune.seal", SHA), "the seal itself"),
        (drop_entries("edgeprune.seal"), "was removed"),
        (lambda p: (_flip_weight(p), _add_stride(p)), "graph and weights"),
    ],
)
def test_a_change_breaks_the_seal_and_is_named(sealed, change, part):
    edit(sealed, change)
    with pytest.raises(PromiseError, match="seal broken") as error:
        seal.verify(sealed)
    assert part in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "change",
    [set_entry("edgeprune.measured.p50_ms", "0.91"), set_entry("somebody.else", "x")],
)
def test_measurements_and_foreign_entries_are_outside_the_seal(sealed, change):
    edit(sealed, change)
    assert seal.verify(sealed) == provenance()


def test_the_order_of_entries_does_not_matter(sealed):
    def shuffle(proto):
        entries = [(e.key, e.value) for e in proto.metadata_props][::-1]
        del proto.metadata_props[:]
        for key, value in entries:
            proto.metadata_props.add(key=key, value=value)

    edit(sealed, shuffle)
    assert seal.verify(sealed) == provenance()


def test_a_plain_file_has_no_provenance_and_no_seal(tmp_path):
    path = tmp_path / "plain.onnx"
    onnx.save(tiny_model(), path)
    assert seal.read(path) is None
    with pytest.raises(InputError, match="carries no seal"):
        seal.verify(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "No such file"),
        (b"", "no operators"),
        (b"not a model at all", "not an ONNX file"),
        (tiny_model().SerializeToString()[:-40], "truncated"),
    ],
)
def test_unreadable_files_are_named_in_one_line(tmp_path, content, message):
    path = tmp_path / "model.onnx"
    if content is not None:
        path.write_bytes(content)
    for function in (seal.read, seal.verify):
        with pytest.raises(InputError, match=message) as error:
            function(path)
        assert str(path) in str(error.value)
        assert "\n" not in str(error.value)


def test_weights_in_a_second_file_are_refused(tmp_path):
    path = tmp_path / "model.onnx"
    onnx.save(tiny_model(), path, save_as_external_data=True, location="w.data", size_threshold=0)
    with pytest.raises(InputError, match="second file"):
        seal.read(path)


@pytest.mark.parametrize(
    ("key", "value", "kind", "message"),
    [
        ("edgeprune.macs", "many", PromiseError, "edgeprune.macs is not JSON"),
        ("edgeprune.macs", "-3", PromiseError, "edgeprune.macs"),
        ("edgeprune.surprise", "1", PromiseError, "edgeprune.surprise"),
        ("edgeprune.accuracy_slim", "85.0", PromiseError, "edgeprune.accuracy_slim"),
        ("edgeprune.schema", "2", InputError, "newer edgeprune"),
    ],
)
def test_a_bad_entry_is_named(sealed, key, value, kind, message):
    edit(sealed, set_entry(key, value))
    with pytest.raises(kind, match=message) as error:
        seal.read(sealed)
    assert "\n" not in str(error.value)


def test_an_existing_file_is_kept_without_overwrite(sealed):
    before = sealed.read_bytes()
    with pytest.raises(InputError, match="--overwrite"):
        seal.write(sealed, tiny_model(), provenance(macs=1))
    assert sealed.read_bytes() == before
    seal.write(sealed, tiny_model(), provenance(macs=1), overwrite=True)
    assert seal.verify(sealed).macs == 1
    assert list(sealed.parent.iterdir()) == [sealed]


@pytest.mark.parametrize(
    "classes", [("a\udcff",), ("nul\0", ""), ("x" * 5000,) * 200, ("\N{ADULT}\u200d!",), ()]
)
def test_any_class_name_survives(tmp_path, classes):
    path = tmp_path / "model.onnx"
    seal.write(path, tiny_model(), provenance(classes=classes))
    assert seal.verify(path).classes == classes


_WRITE = """
import os, signal, sys
from pathlib import Path
import onnx
from edgeprune.deploy.artifact import seal
from edgeprune.deploy.artifact.provenance import parse
from edgeprune.errors import EdgepruneError
path, mode = Path(sys.argv[1]), sys.argv[2]
proto = onnx.load(path)
proto.graph.initializer.add(name="pad", data_type=2, dims=[2**20], raw_data=bytes(2**20))
if mode == "killed":
    Path.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
if mode == "full":
    import resource
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**16, 2**16))
try:
    seal.write(path, proto, seal.read(path), overwrite=True)
except EdgepruneError as error:
    sys.exit(f"{type(error).__name__} {error}")
"""


@pytest.mark.parametrize(("mode", "says"), [("killed", ""), ("full", "the disk is full")])
def test_an_interrupted_write_leaves_the_old_file(sealed, mode, says):
    before = sealed.read_bytes()
    command = [sys.executable, "-c", _WRITE, str(sealed), mode]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert says in done.stderr
    assert sealed.read_bytes() == before
    left = [path for path in sealed.parent.iterdir() if path != sealed]
    assert len(left) == (1 if mode == "killed" else 0)
    assert all(path.name.startswith(".model.onnx.") for path in left)


def test_of_two_writers_without_overwrite_the_first_wins(sealed, monkeypatch):
    before = sealed.read_bytes()
    monkeypatch.setattr(seal, "refuse_existing", lambda *_, **__: None)
    with pytest.raises(InputError, match="--overwrite"):
        seal.write(sealed, tiny_model(), provenance(macs=1))
    assert sealed.read_bytes() == before
    assert list(sealed.parent.iterdir()) == [sealed]


def test_a_missing_folder_is_one_line(tmp_path):
    with pytest.raises(MachineError, match="cannot write") as error:
        seal.write(tmp_path / "none" / "model.onnx", tiny_model(), provenance())
    assert "\n" not in str(error.value)


def test_notes_of_the_exporter_are_stripped_everywhere():
    secret = "/home/nobody/project/net.py"
    model = tiny_model()
    inner = helper.make_graph([model.graph.node[0]], "inner", [], [])
    model.graph.node.append(helper.make_node("If", ["c"], ["d"], then_branch=inner))
    model.doc_string = model.graph.doc_string = secret
    nested = model.graph.node[-1].attribute[0].g
    for message in (
        model,
        model.graph,
        model.graph.node[0],
        model.graph.input[0],
        model.graph.output[0],
        model.graph.initializer[0],
        nested,
        nested.node[0],
    ):
        message.doc_string = secret
        message.metadata_props.add(key="stack_trace", value=secret)
    model.metadata_props.add(key="edgeprune.model", value="resnet20")
    stripped = seal.strip_paths(model)
    assert secret.encode() in model.SerializeToString()
    assert secret.encode() not in stripped.SerializeToString()
    assert [e.key for e in stripped.metadata_props] == ["edgeprune.model"]
    assert len(stripped.graph.node) == len(model.graph.node)


def test_the_module_works_without_torch(sealed):
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from pathlib import Path\n"
        "from edgeprune.deploy.artifact import seal\n"
        "print(seal.verify(Path(sys.argv[1])).macs)"
    )
    command = [sys.executable, "-c", code, str(sealed)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "40551232\n"), done.stderr
