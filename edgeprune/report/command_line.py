"""Repeats a request of run.json as a command: every option that decides what comes out."""

import math
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from edgeprune.prune.search.strategies.names import LEAST
from edgeprune.report.python_call import has_no_command, search_call

RECIPE = {
    "epochs": "--epochs",
    "lr": "--lr",
    "batch": "--batch",
    "temperature": "--kd-temperature",
    "alpha": "--kd-weight",
    "label_smoothing": "--label-smoothing",
    "ema": "--ema",
}
LIMITS = {
    "latency": "--max-latency-ratio",
    "macs": "--max-macs-ratio",
    "params": "--max-params-ratio",
    "accuracy_drop": "--max-accuracy-drop",
    "output_error": "--max-output-error",
    "score_drop": "--max-score-drop",
}
SOMEWHERE = "ssh://USER@HOST"  # of a device that only the reader can name
RULES = ("uniform", "l1", "bn", "taylor", "depth")


def search_command(
    request: Mapping[str, Any],
    *,
    strategy: str = "",
    latency: float | None = None,
    together: Sequence[Mapping[str, Any]] = (),
) -> str:
    """The ``edgeprune search`` that asks for the same again.

    What a run keeps of paths is their name: weights are named so. The values are spelt out even
    where they are today's defaults, because another version may have others. Where a module or
    images were passed in Python, it is the call of ``edgeprune.search``.

    Args:
        request: ``request`` of run.json; what it lacks is left out.
        strategy: Another strategy in place of the request's.
        latency: Another limit on the latency ratio; the family and milliseconds give way.
        together: The requests for all targets of one run, this one among them.
    """
    request = _common(request, together)
    words = ["edgeprune", "search"]
    for one in together or (request,):
        words += _option("--target", _at(one, "target", "name"))
    words += _number_format(request)
    words += _option("--model", _at(request, "model", "name"))
    for name, value in _mapping(request, "model", "kwargs").items():
        words += ["--model-arg", f"{name}={_text(value)}"]
    words += _option("--weights", request.get("weights"))
    words += ["--new-head"] if request.get("new_head") is True else []
    words += _option("--task", request.get("task") if request.get("task") == "outputs" else None)
    words += _option("--score", request.get("score") or None)
    words += _option("--data", request.get("source"))
    words += _normalisation(request)
    words += _option("--image-size", _sides(request.get("size")))
    words += _named(request)
    words += _limits(request, latency)
    strategy = strategy or request.get("strategy", "")
    words += _option("--strategy", strategy or None)
    if str(strategy) in LEAST:  # the others score no networks, and refuse these
        words += _option("--evaluations", _at(request, "effort", "evaluations"))
        words += _option("--finalists", _at(request, "effort", "finalists"))
    if isinstance(request.get("time_budget"), int | float):
        words += ["--time-budget", f"{round(request['time_budget'])}s"]
    words += _option("--compensate", request.get("compensate"))
    words += _option("--wavelet", _at(request, "wavelet", "wavelet"))
    words += _option("--genome", request.get("genome"))
    if request.get("weights") is None:
        words += _option("--baseline-epochs", _at(request, "baseline", "epochs"))
    for name, flag in RECIPE.items():
        words += _option(flag, _at(request, "recovery", name))
    words += _option("--seed", _at(request, "search", "seed"))
    words += _devices(together) if together else _device(request)
    return search_call(words) if has_no_command(words) else shlex.join(words)


def _common(
    request: Mapping[str, Any], together: Sequence[Mapping[str, Any]]
) -> Mapping[str, Any]:
    """What the requests for several targets have in common; the rest is from their profiles."""
    found = dict(request)
    for other in together:
        budget = _mapping(found, "budget")
        found["budget"] = {
            name: limit
            for name, limit in budget.items()
            if _mapping(other, "budget").get(name, math.nan) == limit
        }
        if other.get("size") != found.get("size"):
            found["size"] = None
        if not _number_format(other):
            found["target"] = None  # its name is not asked for here
    return found


def _devices(together: Sequence[Mapping[str, Any]]) -> list[str]:
    words = []
    for one in together:
        if _device(one):
            name, device = _at(one, "target", "name"), one.get("device")
            words += ["--device", f"{name}={device}"]
    return words


def check_command(
    request: Mapping[str, Any], folder: str, fingerprint: str = "", *, elsewhere: bool = False
) -> str:
    """The ``edgeprune check`` that judges the model of a run folder by the same budgets.

    Args:
        request: ``request`` of run.json.
        folder: The run folder.
        fingerprint: Device that a limit in ms holds for.
        elsewhere: The device was not there when it was searched.
    """
    model, dense = f"{folder}/model.onnx", f"{folder}/dense.onnx"
    words = ["edgeprune", "check", model, *_option("--target", _at(request, "target", "name"))]
    words += ["--baseline", dense]
    usual = _mapping(request, "target", "budget", "relative")
    for name, limit in _mapping(request, "budget").items():
        if limit != usual.get(name):
            words += ["--budget", f"relative.{name}={_limit(limit)}"]
    if request.get("latency_ms") is not None:
        words += ["--budget", f"p50_ms={_text(request['latency_ms'])}"]
        words += ["--budget", f"fingerprint={fingerprint}"]
    if elsewhere:
        words += ["--device", SOMEWHERE]
    elif request.get("device") not in (None, "local://"):
        words += _option("--device", request["device"])
    return shlex.join(words)


def _device(request: Mapping[str, Any]) -> list[str]:
    """None where none was named: one that is named keeps tables out that were carried here."""
    return [] if request.get("carried") is True else _option("--device", request.get("device"))


def _sides(size: Any) -> Any:
    """``96`` or ``96x160``; earlier versions kept one side."""
    if isinstance(size, list) and len(size) == 2:
        return size[0] if size[0] == size[1] else f"{size[0]}x{size[1]}"
    return size


def _number_format(request: Mapping[str, Any]) -> list[str]:
    """Said where it is not the usual one: the profile of that name may run another."""
    mode = _at(request, "target", "precision", "mode")
    return ["--precision", "int8"] if mode == "int8" else []


def _normalisation(request: Mapping[str, Any]) -> list[str]:
    words = []
    for name in ("mean", "std"):
        values = _at(request, "normalisation", name)
        if isinstance(values, list):
            words += [f"--{name}", *map(_text, values)]
    return words


def _named(request: Mapping[str, Any]) -> list[str]:
    """Layers that stay whole, or that alone are pruned."""
    words = []
    for name in ("keep", "only"):
        globs = request.get(name)
        for glob in globs if isinstance(globs, list) else ():
            words += [f"--{name}", _text(glob)]
    return words


def _limits(request: Mapping[str, Any], latency: float | None) -> list[str]:
    """All four budgets, spelt out, or a family or milliseconds in place of the latency's."""
    family = request.get("family")
    # The others of what is lost hold for other tasks.
    lost = "output_error" if request.get("task") == "outputs" else "accuracy_drop"
    lost = "score_drop" if request.get("score") else lost
    known = "latency", "macs", "params", lost
    found = {n: limit for n, limit in _mapping(request, "budget").items() if n in known}
    if latency is not None:
        found = {**found, "latency": latency}
    elif isinstance(family, list) and family:
        ratios = ",".join(map(_text, family))
        return [*_given(found, "latency"), "--family", ratios]
    elif request.get("latency_ms") is not None:
        return [*_given(found), "--max-latency-ms", _text(request["latency_ms"])]
    return _given(found)


def _given(limits: Mapping[str, Any], without: str = "") -> list[str]:
    words = []
    for name, flag in LIMITS.items():
        if name != without and name in limits:
            words += [flag, _limit(limits[name])]
    return words


def _limit(value: Any) -> str:
    return "none" if value is None or value == math.inf else _text(value)


def _option(flag: str, value: Any) -> list[str]:
    return [] if value is None else [flag, _text(value)]


def _text(value: Any) -> str:
    """A number in the fewest digits that give it back; anything else as it prints."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return repr(int(value)) if value.is_integer() else repr(value)
    return str(value)


def _mapping(content: Mapping[str, Any], *names: str) -> dict[str, Any]:
    found = _at(content, *names)
    return found if isinstance(found, dict) else {}


def _at(content: Mapping[str, Any], *names: str) -> Any:
    """The value under nested names; None where a run folder has it not, or other than nested."""
    found: Any = content
    for name in names:
        found = found.get(name) if isinstance(found, dict) else None
    return found
