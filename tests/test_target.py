import pytest

from edgeprune.errors import InputError
from edgeprune.target import list_targets, load_target
from edgeprune.target_overrides import with_inputs

MINIMAL = 'schema = 1\nname = "t"\n'


def profile(tmp_path, text):
    path = tmp_path / "t.toml"
    path.write_text(text)
    return str(path)


def test_the_three_profiles_load_and_say_what_they_stand_for():
    profiles = [load_target(name) for name in ("mobile-cpu", "raspberry-pi-5", "x86-gateway")]
    assert [p.runtime.threads for p in profiles] == [1, 4, 1]
    assert profiles[0].budget.relative.latency == 0.50
    assert all(p.proxy_for for p in profiles)


def test_every_key_but_schema_and_name_has_a_default(tmp_path):
    target = load_target(profile(tmp_path, MINIMAL))
    assert target.runtime.providers == ("CPUExecutionProvider",)
    assert target.channels.grid == "probe"
    assert target.budget.relative.latency is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("schema = 1", "key 'name' is missing"),
        (
            MINIMAL + "[runtime]\nthread = 2",
            "unknown key 'runtime.thread', did you mean 'threads'",
        ),
        (MINIMAL + "[budget.relative]\nlatncy = 0.5", "did you mean 'latency'"),
        (MINIMAL + "[budget.relative]\nlatency = -0.5", "budget.relative.latency"),
        (MINIMAL + "[budget.relative]\nlatency = 0", "greater than 0"),
        (MINIMAL + "[budget.relative]\nlatency = nan", "budget.relative.latency"),
        (MINIMAL + "[budget.absolute]\nparams = 0", "budget.absolute.params"),
        (MINIMAL + "[channels]\ngrid = []", "channels.grid"),
        (MINIMAL + "[channels]\ngrid = [8, -16]", "channels.grid"),
        (MINIMAL + "[runtime]\nthreads = 0", "runtime.threads"),
        (MINIMAL + '[precision]\nmode = "fp16"', "precision.mode: fp16 is not faster on CPU"),
        (MINIMAL + '[precision]\nmode = "int4"', "precision.mode: Input should be 'fp32'"),
        (MINIMAL + '[budget]\n"a.b" = 1', "unknown key 'budget.a.b'"),
        (MINIMAL + "[precision]\nmin_integer_conv_fraction = 1.5", "less than or equal to 1"),
        (MINIMAL + "[precision]\ncalibration = 9", "unknown key"),
        (MINIMAL + "[parity]\nint8_sqnr_db = 20.0", "unknown key 'parity.int8_sqnr_db'"),
        (MINIMAL + '[measure]\nclock = "sundial"', "measure.clock"),
        ('schema = 2\nname = "t"', "schema"),
        ('schema = 1\nname = "../x"', "name"),
        ("schema = ", "is not a TOML file"),
    ],
)
def test_a_bad_profile_is_one_line_with_the_key(tmp_path, text, said):
    with pytest.raises(InputError) as error:
        load_target(profile(tmp_path, text))
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_an_unknown_name_names_the_nearest():
    with pytest.raises(InputError, match="did you mean 'mobile-cpu'"):
        load_target("mobil-cpu")


def test_the_working_directory_comes_before_the_packaged_profiles(tmp_path, monkeypatch):
    (tmp_path / "targets").mkdir()
    (tmp_path / "targets" / "mobile-cpu.toml").write_text('schema = 1\nname = "mine"\n')
    monkeypatch.chdir(tmp_path)
    assert load_target("mobile-cpu").name == "mine"
    assert {"mobile-cpu", "raspberry-pi-5", "x86-gateway"} <= set(list_targets())


def test_the_hash_knows_values_not_comments(tmp_path):
    plain = load_target(profile(tmp_path, MINIMAL)).sha256
    assert load_target(profile(tmp_path, "# hello\n" + MINIMAL)).sha256 == plain
    assert load_target(profile(tmp_path, MINIMAL + "[runtime]\nthreads = 2")).sha256 != plain


def test_missing_and_unreadable_files(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        load_target(str(tmp_path / "none.toml"))
    (tmp_path / "b.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match="not a TOML file"):
        load_target(str(tmp_path / "b.toml"))


def test_inputs_are_pinned_by_name(tmp_path):
    tables = "[input]\nshape = [1, 3]\n[input.scale]\nshape = [1, 2]\nvalue = 0.5\n"
    target = load_target(profile(tmp_path, f"{MINIMAL}{tables}[input.rate]\nvalue = 1"))
    assert target.input.shapes == {"": (1, 3), "scale": (1, 2)}
    assert target.input.values == {"scale": 0.5, "rate": 1}
    asked = with_inputs(target, ["scale=4x5", "a=b=:7", "x=2:-1"])
    assert asked.input.shapes == {"": (1, 3), "scale": (4, 5), "x": (2,)}
    assert asked.input.values == {"rate": 1, "a=b": 7, "x": -1}
    assert asked.sha256 != target.sha256


@pytest.mark.parametrize(
    "setting", ["x", "x=", "=1x3", "x=1x", "x=-1x3", "x=axb", "x=1x3:nan", "x=1:", "shape=1x3"]
)
def test_inputs_that_cannot_be(tmp_path, setting):
    target = load_target(profile(tmp_path, MINIMAL))
    with pytest.raises(InputError, match="--input"):
        with_inputs(target, [setting])


def test_a_key_that_no_input_has_is_named(tmp_path):
    path = profile(tmp_path, MINIMAL + "[input.x]\nshap = [1, 3]")
    with pytest.raises(InputError, match=r"unknown key 'input\.x\.shap', did you mean 'shape'"):
        load_target(path)


def test_a_profile_may_begin_with_a_byte_order_mark(tmp_path):
    assert load_target(profile(tmp_path, "\ufeff" + MINIMAL)).name == "t"


COMMAND = MINIMAL + '[device]\ncommand = ["docker", "exec", "-i", "my pi", "python3"]\n'


def test_a_command_is_taken_from_the_users_own_folder_alone(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    own = tmp_path / "config" / "edgeprune" / "targets"
    own.mkdir(parents=True)
    (own / "t.toml").write_text(COMMAND)
    monkeypatch.chdir(tmp_path)
    assert load_target("t").device.uri == "exec:docker exec -i 'my pi' python3"
    (tmp_path / "targets").mkdir()
    (tmp_path / "targets" / "t.toml").write_text(COMMAND)
    for name in ("t", "targets/t.toml"):
        with pytest.raises(InputError, match=r"only a profile in \S+ may set it; put it"):
            load_target(name)


def test_a_command_is_not_carried_on(tmp_path, monkeypatch):
    monkeypatch.setattr("edgeprune.target._own_folder", lambda: tmp_path)
    target = load_target(profile(tmp_path, COMMAND))
    plain = load_target(profile(tmp_path, MINIMAL))
    assert target.sha256 == plain.sha256
    assert "docker" not in target.model_dump_json()
    assert plain.device.uri == "local://"
