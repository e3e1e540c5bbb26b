import pytest

from edgeprune.cli.project_file import defaults
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
