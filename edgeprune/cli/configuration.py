"""Where each option of a command has its value from: flag, environment, file, profile, default."""

from dataclasses import dataclass
from typing import Any

from edgeprune.cli.project_file import told, variable_of

# Options that leave it to the profile, and the profile's keys.
OF_PROFILE = {
    "max_latency_ratio": ("budget", "relative", "latency"),
    "max_macs_ratio": ("budget", "relative", "macs"),
    "max_params_ratio": ("budget", "relative", "params"),
    "max_accuracy_drop": ("budget", "relative", "accuracy_drop"),
    "max_output_error": ("budget", "relative", "output_error"),
    "max_ratio": ("budget", "relative", "latency"),
    "max_seconds": ("measure", "max_seconds"),
}


@dataclass(frozen=True)
class Configuration:
    """The project's file that set defaults; empty where none did."""

    file: str

    def told(self, context: Any) -> str:
        """What it sets for the command of a context, one line."""
        return told(self.file, context.default_map or {}) if self.file else ""


def rows(context: Any) -> list[tuple[str, str, str]]:
    """Each option of a command with its value and where that is from."""
    profile = _profile(context.params.get("target"))
    command = context.command_path.removeprefix("edgeprune ")
    found = []
    for param in context.command.params:
        if not param.expose_value:
            continue
        name, value = str(param.name), context.params.get(param.name)
        source = context.get_parameter_source(name)
        where = {
            "COMMANDLINE": "command line",
            "ENVIRONMENT": variable_of(command, name),
            "DEFAULT_MAP": getattr(context.obj, "file", ""),
        }.get(source.name if source else "", "default")
        if where == "default" and value is None and name in OF_PROFILE and profile:
            value, where = _at(profile, OF_PROFILE[name]), f"target {profile['name']}"
        found.append((_shown(param), _text(value), where))
    return found


def _profile(target: Any) -> dict[str, Any]:
    """The profile as plain content; empty where a command has none, or several."""
    from edgeprune.target import load_target

    if isinstance(target, list) and len(target) == 1:
        target = target[0]
    return load_target(target).model_dump(by_alias=True) if isinstance(target, str) else {}


def _at(content: Any, keys: tuple[str, ...]) -> Any:
    for key in keys:
        content = content[key]
    return content


def _shown(param: Any) -> str:
    """The longest spelling of an option; an argument by its name."""
    option = param.param_type_name == "option"
    return max(param.opts, key=len) if option else str(param.metavar or param.name)


def _text(value: Any) -> str:
    if value in (None, [], ()):
        return "-"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return " ".join(map(_text, value))
    return str(getattr(value, "value", value))
