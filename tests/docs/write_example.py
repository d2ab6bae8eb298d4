"""Write neve.example.toml from the settings' own descriptions and defaults: run it after changing a setting."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

from pydantic import BaseModel, TypeAdapter

from archiver.config import Settings
from archiver.sections import ProfileSettings, RuleSettings

HEAD = """\
# Every setting of Névé with its default. Copy what you change to neve.toml; unknown keys are refused.
# Environment variables win: NEVE_PORT=9000, NEVE_TIERS__HOT__BUCKET=my-hot. Durations are ISO 8601: P60D, PT5S; P2Y is 730 days.
"""


def value(said: Any) -> str:
    if isinstance(said, bool):
        return str(said).lower()
    if isinstance(said, timedelta):
        return '"' + TypeAdapter(timedelta).dump_json(said).decode().strip('"') + '"'
    if isinstance(said, list):
        return "[" + ", ".join(map(value, said)) + "]"
    if isinstance(said, dict):
        return "{" + ", ".join(f"{value(key)} = {value(its)}" for key, its in said.items()) + "}"
    if isinstance(said, int | float):
        return f"{said:_}" if isinstance(said, int) and said > 9999 else str(said)
    return f'"{said}"'


def table(model: BaseModel, lines: list[str], mark: str = "") -> None:
    for name, field in type(model).model_fields.items():
        said = getattr(model, name)
        if isinstance(said, BaseModel) or name in {"rules", "tiers"}:
            continue
        lines.append(f"# {field.description}")
        lines.append(f"{mark}{name} = {value(said)}\n" if said is not None else f"# {name} =\n")


def example() -> str:
    settings = Settings()
    lines = [HEAD]
    table(settings, lines)
    for name in type(settings).model_fields:
        section = getattr(settings, name)
        if isinstance(section, BaseModel):
            lines.append(f"\n# {(type(section).__doc__ or '').splitlines()[0]}\n[{name}]")
            table(section, lines)
            if name == "hub":
                lines.append(f"# {(ProfileSettings.__doc__ or '').splitlines()[0]}\n# [hub.profiles.large]")
                table(ProfileSettings(), lines, mark="# ")
    for tier, section in settings.tiers.items():
        lines.append(f"\n[tiers.{tier}]")
        if tier == "hot":
            table(section, lines)
            lines.append(f"# {(type(section.prices).__doc__ or '').splitlines()[0]}\n[tiers.hot.prices]")
            table(section.prices, lines)
            continue
        for name, field in type(section).model_fields.items():
            said = getattr(section, name)
            if not isinstance(said, BaseModel) and said is not None and (field.is_required() or said != field.default):
                lines.append(f"{name} = {value(said)}")
    lines.append(f"\n# {(RuleSettings.__doc__ or '').splitlines()[0]} As many [[rules]] as you like; none to begin with.\n# [[rules]]")
    table(RuleSettings(), lines, mark="# ")
    lines.append("# [rules.keep] # by tier: age until which policy claims a copy\n# hot =")
    return "\n".join(lines).rstrip() + "\n"


if __name__ == "__main__":
    (Path(__file__).resolve().parents[2] / "neve.example.toml").write_text(example(), "utf-8")
