import pytest

from edgeprune.cli.project_file import defaults, refuse_environment, told
from edgeprune.errors import InputError

OPTIONS = {"search": {"target", "max_latency_ratio"}, "check": {"baseline"}}


def test_without_a_file_there_are_no_defaults(tmp_path):
    assert defaults(OPTIONS, tmp_path) == ({}, "")


def test_keys_are_option_names_and_come_back_as_python_names(tmp_path):
    path = tmp_path / "edgeprune.toml"
    path.write_text('[search]\ntarget = "x86-gateway"\nmax-latency-ratio = 0.5\n')
    assert defaults(OPTIONS, tmp_path) == (
        {"search": {"target": "x86-gateway", "max_latency_ratio": 0.5}},
        "edgeprune.toml",
    )


def test_pyproject_may_hold_them_too_but_not_both(tmp_path):
    (tmp_path / "pyproject.toml").write_text(
        '[project]\nname = "x"\n[tool.edgeprune.search]\ntarget = "a"\n'
        "[tool.edgeprune.devices.check]\nverbose = true\n"
    )
    options = OPTIONS | {"devices": set(), "devices check": {"verbose"}}
    expected = {"search": {"target": "a"}, "devices": {"check": {"verbose": True}}}
    assert defaults(options, tmp_path) == (expected, "pyproject.toml")
    (tmp_path / "edgeprune.toml").write_text("[search]\n")
    with pytest.raises(InputError, match="both set defaults; keep them in one"):
        defaults(options, tmp_path)


@pytest.mark.parametrize("text", ['[project]\nname = "x"\n', "[tool]\nother = 1\n"])
def test_a_pyproject_of_others_sets_nothing(tmp_path, text):
    (tmp_path / "pyproject.toml").write_text(text)
    assert defaults(OPTIONS, tmp_path) == ({}, "")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[serch]\n", "no command [serch], did you mean 'search'?"),
        ("[search]\ntargt = 'x'", "no option 'targt', did you mean 'target'?"),
        ("search = 3", "no command [search]"),
        ("[", "not a TOML file"),
    ],
)
def test_a_bad_project_file_is_one_line(tmp_path, text, said):
    path = tmp_path / "edgeprune.toml"
    path.write_text(text)
    with pytest.raises(InputError) as error:
        defaults(OPTIONS, tmp_path)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


DELICATE = {
    "export": {"trust_factory", "output"},
    "check": {"json", "junit", "max_ratio", "budget", "baseline", "self_test", "device"}
    | {"on_inconclusive", "max_seconds"},
    "search": {"model", "out", "overwrite", "device"},
}


@pytest.mark.parametrize(
    ("text", "flag"),
    [
        ("[export]\ntrust-factory = true", "--trust-factory"),
        ("[export]\noutput = 'x.onnx'", "--output"),
        ("[check]\njson = 'x'", "--json"),
        ("[check]\njunit = 'x'", "--junit"),
        ("[search]\nmodel = 'evil:make'", "--model"),
        ("[search]\nout = 'x'", "--out"),
        ("[check]\ndevice = 'exec:evil'", "--device"),
        ("[search]\noverwrite = true", "--overwrite"),
        ("[search]\ndevice = 'ssh://evil'", "--device"),
        ("[check]\ndevice = 'ssh://evil'", "--device"),
        ("[check]\nmax-ratio = 100.0", "--max-ratio"),
        ("[check]\nbudget = ['relative.latency=none']", "--budget"),
        ("[check]\nbaseline = 'slow.onnx'", "--baseline"),
        ("[check]\nself-test = true", "--self-test"),
        ("[check]\non-inconclusive = 'pass'", "--on-inconclusive"),
    ],
)
def test_what_runs_code_writes_elsewhere_or_loosens_a_gate_is_for_the_command_line(
    tmp_path, text, flag
):
    path = tmp_path / "edgeprune.toml"
    path.write_text(text)
    with pytest.raises(InputError, match=f"only the command line may set this; pass {flag}$"):
        defaults(DELICATE, tmp_path)


def test_a_stricter_gate_may_be_set(tmp_path):
    (tmp_path / "edgeprune.toml").write_text("[check]\non-inconclusive = 'fail'\n")
    assert defaults(DELICATE, tmp_path)[0] == {"check": {"on_inconclusive": "fail"}}


def test_nor_may_the_environment_set_it():
    refuse_environment(DELICATE, {"EDGEPRUNE_SEARCH_MODEL": "resnet20"})
    for name, value in (
        ("EXPORT_TRUST_FACTORY", "1"),
        ("SEARCH_MODEL", "evil:make"),
        ("CHECK_MAX_RATIO", "9"),
        ("CHECK_ON_INCONCLUSIVE", "pass"),
        ("CHECK_DEVICE", "exec:evil"),
    ):
        with pytest.raises(InputError, match=f"^EDGEPRUNE_{name}: only the command line"):
            refuse_environment(DELICATE, {f"EDGEPRUNE_{name}": value})


def test_what_the_file_sets_is_told_in_one_line():
    found = {"max_ratio": 100.0, "budget": ["macs=1\n::error::x"], "nested": {}}
    assert told("edgeprune.toml", found) == (
        "edgeprune.toml sets max-ratio = 100.0, budget = ['macs=1\\n::error::x']"
    )
    assert told("edgeprune.toml", {}) == ""


def test_a_value_that_no_option_takes_is_refused(tmp_path):
    path = tmp_path / "edgeprune.toml"
    path.write_text("[check]\nmax-seconds = 2020-01-01")
    with pytest.raises(InputError, match="wants a text, a number"):
        defaults(DELICATE, tmp_path)
