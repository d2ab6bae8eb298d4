"""Settings: unknown keys and wrong types stop with a sentence; the environment wins; neve.example.toml shows every setting."""

from __future__ import annotations

import tomllib
from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import BaseModel

from archiver.config import Settings, load
from archiver.errors import WrongSetting

ROOT = Path(__file__).parents[2]
TIERS = '[tiers.hot]\nbucket="aaa"\nplace="a"\nkeep="P60D"\n[tiers.deep]\nbucket="bbb"\nplace="b"\n'


@pytest.fixture(autouse=True)
def _bare(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for name in ("NEVE_CONFIG", "NEVE_HOME", "NEVE_PORT"):
        monkeypatch.delenv(name, raising=False)


def _file(tmp_path, text: str) -> Path:
    path = tmp_path / "some.toml"
    path.write_text(text, "utf-8")
    return path


def test_the_defaults_are_the_design():
    settings = load()
    assert {n: t.keep for n, t in settings.tiers.items()} == {"hot": timedelta(days=60), "archive": timedelta(days=730), "deep": None}
    assert settings.tiers["deep"].storage_class == "DEEP_ARCHIVE"
    assert settings.tiers["deep"].back_within == timedelta(days=3)
    assert settings.policy.age_from == "received"
    assert settings.port == 8000


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("prot = 8000", "prot: is not a setting"),
        ("[store]\nbucket = 'x'", "store.bucket: is not a setting"),
        ("port = 'web'", "port: "),
        ("port = 70000", "port: "),
        ("[policy]\nsettle = 'a week'", "policy.settle: "),
        ("[tiers.hot]\nbucket = 'hot'", "tiers.hot.place: "),
        ("port = ", "is not valid TOML"),
        (TIERS.replace('[tiers.hot]\nbucket="aaa"\nplace="a"\nkeep="P60D"\n', ""), "[tiers.hot] is missing"),
        (TIERS + 'keep="P1D"', "no tier keeps for ever"),
        (TIERS.replace('place="b"', 'place="a"'), "asks for 2 copies in distinct places"),
        (TIERS, "asks for 2 copies in distinct places at age 60 days"),
        (TIERS.replace('keep="P60D"', 'keep="P60D"\nrecall="auto"'), "tiers.hot.recall must be never"),
        ("[hub]\ncull_idle = 'PT5S'", "hub.cull_idle: "),
        ("[hub]\nmemory_limit = 'much'", "hub.memory_limit: "),
        ("[hub.profiles.large]\ncpus = 8", "hub.profiles.large.cpus: is not a setting"),
        ("[hub.profiles.large]\nmemory_limit = '0G'", "hub.profiles.large.memory_limit: "),
        ("[hub.profiles.'too large']\ngpus = 1", "hub.profiles.too large"),
    ],
)
def test_a_wrong_setting_is_one_sentence_with_its_key(tmp_path, text, says):
    with pytest.raises(WrongSetting) as error:
        load(_file(tmp_path, text))
    assert says in error.value.detail
    assert error.value.next_step
    assert error.value.exit_code == 2


def test_a_missing_file_is_said(tmp_path):
    with pytest.raises(WrongSetting, match="cannot be read"):
        load(tmp_path / "nowhere.toml")


def test_the_environment_wins_over_the_file_and_keeps_the_rest(tmp_path, monkeypatch):
    monkeypatch.setenv("NEVE_PORT", "9001")
    monkeypatch.setenv("NEVE_STORE__REGION", "gra")
    settings = load(_file(tmp_path, "port = 9000\n[store]\nprofile = 'mine'\nregion = 'x'"))
    assert (settings.port, settings.store.region, settings.store.profile) == (9001, "gra", "mine")


def _settings_of(model: type[BaseModel], prefix: str = "") -> set[str]:
    found = set()
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            found |= _settings_of(kind, f"{prefix}{name}.")
        elif name not in {"tiers", "rules"}:
            found.add(prefix + name)
    return found


def test_the_example_shows_every_setting_with_its_default(tmp_path):
    text = (ROOT / "neve.example.toml").read_text("utf-8")
    assert load(_file(tmp_path, text)) == Settings(), "the example is not the defaults"
    shown, table = set(), ""
    for line in text.splitlines():
        key = line.removeprefix("# ").split(" =")[0]
        if line.startswith("["):
            table = line.strip("[]") + "."
        elif " =" in line and key.isidentifier():
            shown.add(table + key)
    from archiver.sections import TierSettings

    wanted = _settings_of(Settings) | {f"tiers.hot.{name}" for name in TierSettings.model_fields}
    wanted -= {"tiers.hot.prices"}
    assert wanted <= shown, sorted(wanted - shown)
    assert tomllib.loads(text)
