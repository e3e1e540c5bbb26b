"""The call that repeats a run from Python asks for exactly the same."""

import pytest
from torch import nn

import edgeprune
from edgeprune.errors import InputError
from edgeprune.report import command_line
from edgeprune.run import passed
from edgeprune.run.search_options import SearchOptions


@pytest.mark.parametrize(
    "words",
    [
        {},
        {"max_latency_ratio": 0.7, "max_accuracy_drop": float("inf"), "epochs": 0, "seed": 3},
        {"max_latency_ms": 3.5, "wavelet": "none", "compensate": "none", "time_budget": 90},
        {"keep": ("layer1.*",), "only": ("layer?", "conv1")},
        {"strategy": "gwcs", "evaluations": 8, "finalists": 2, "lr": 0.01, "precision": "int8"},
    ],
)
def test_the_call_of_a_run_asks_for_the_same_run(monkeypatch, words):
    asked = []

    def stop(options, module, splits, **_):
        asked.append((options, module, splits))
        raise InputError("stopped")

    monkeypatch.setattr(passed, "search", stop)
    names = {"model": "instance of Net", "data": "in memory: Pairs"}
    request = SearchOptions(
        **words,
        **names,
        image_size=(48, 48),
        mean=(0.0,) * 3,
        std=(1.0,) * 3,
    ).request()
    call = command_line.search_command(request.to_plain())
    known = {"edgeprune": edgeprune, "model": nn.Identity(), "data": (1, 2)}
    with pytest.raises(InputError, match="stopped"):
        eval(call, known)
    options, module, splits = asked.pop()
    assert (module, splits) == (known["model"], known["data"])
    again = SearchOptions(**vars(options) | names | {"image_size": (48, 48)}).request()
    assert again.to_plain() | {"baseline": None} == request.to_plain() | {"baseline": None}


def test_a_name_stays_a_name():
    call = command_line.search_command(
        {
            "model": {"name": "mine:net", "kwargs": {"a": 1, "b": True}},
            "source": "in memory: X (not mirrored)",
            "new_head": True,
            "weights": "it's.pt",
        }
    )
    assert call == (
        "edgeprune.search('mine:net', data, flip=False, model_arg={'a': 1, 'b': True}, "
        'weights="it\'s.pt", new_head=True)'
    )
