import pytest

from edgeprune.cli.project_file import defaults, refuse_environment, told
from edgeprune.errors import InputError

OPTIONS = {"search": {"target", "max_latency_ratio"}, "check": {"baseline"}}


def test_without_a_file_there_are_no_defaults(tmp_path):
    assert defaults(OPTIONS, tmp_path / "edgeprune.toml") == {}


def test_keys_are_option_names_and_come_back_as_python_names(tmp_path):
    path = tmp_path / "edgeprune.toml"
    path.write_text('[search]\ntarget = "x86-gateway"\nmax-latency-ratio = 0.5\n')
    assert defaults(OPTIONS, path) == {
        "search": {"target": "x86-gateway", "max_latency_ratio": 0.5}
    }


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
        defaults(OPTIONS, path)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


DELICATE = {
    "export": {"trust_factory", "output"},
    "check": {"json", "junit", "model", "max_ratio", "device"},
    "search": {"model", "out", "overwrite"},
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
    ],
)
def test_what_runs_code_or_names_outputs_is_for_the_command_line(tmp_path, text, flag):
    path = tmp_path / "edgeprune.toml"
    path.write_text(text)
    with pytest.raises(InputError, match=f"only the command line may set this; pass {flag}$"):
        defaults(DELICATE, path)


def test_nor_may_the_environment_set_it():
    refuse_environment(DELICATE, {"EDGEPRUNE_SEARCH_MODEL": "resnet20"})
    refuse_environment(DELICATE, {"EDGEPRUNE_CHECK_DEVICE": "ssh://pi"})
    for name, value in (
        ("EXPORT_TRUST_FACTORY", "1"),
        ("SEARCH_MODEL", "evil:make"),
        ("CHECK_DEVICE", "exec:evil"),
    ):
        with pytest.raises(InputError, match=f"^EDGEPRUNE_{name}: only the command line"):
            refuse_environment(DELICATE, {f"EDGEPRUNE_{name}": value})


def test_what_the_file_sets_is_told_in_one_line():
    found = {"check": {"max_ratio": 100.0, "budget": ["macs=1\n::error::x"]}}
    assert told("check", found) == (
        "edgeprune.toml sets max-ratio = 100.0, budget = ['macs=1\\n::error::x']"
    )
    assert told("export", found) == ""


def test_a_value_that_no_option_takes_is_refused(tmp_path):
    path = tmp_path / "edgeprune.toml"
    path.write_text("[check]\nmax-ratio = 2020-01-01")
    with pytest.raises(InputError, match="wants a text, a number"):
        defaults(DELICATE, path)
