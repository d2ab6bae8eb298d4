"""Settings: one file `neve.toml`, every key optional, environment variables `NEVE_…` win (`NEVE_TIERS__HOT__BUCKET=…`).

Law: an unknown key or a wrong type stops the start with one sentence that names the key; nothing is guessed. The file is
`--config`, else $NEVE_CONFIG, else ./neve.toml, else $NEVE_HOME/neve.toml, else the defaults. Durations are ISO 8601 (`P60D`,
`PT5S`; a year is 365 days).
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, SettingsError

from archiver.errors import WrongSetting
from archiver.sections import (
    ApiSettings,
    BackupSettings,
    HubSettings,
    LedgerSettings,
    LoginSettings,
    NoticeSettings,
    PolicySettings,
    ProofSettings,
    ReceptionSettings,
    RuleSettings,
    StoreSettings,
    TeamSettings,
    TierName,
    TierSettings,
    WorkerSettings,
    default_tiers,
)


@dataclass(frozen=True)
class Rules:
    """What holds for one project and instrument: [policy] and the tiers' `keep`, with the [[rules]] that fit laid over them."""

    keep: Mapping[str, timedelta | None]
    copies_min_first: int
    copies_min_after: int
    bundle_below_bytes: int
    bundle_max_bytes: int
    retention: timedelta | None


class Settings(BaseSettings):
    """Everything; see neve.example.toml."""

    model_config = SettingsConfigDict(env_prefix="NEVE_", env_nested_delimiter="__", extra="forbid", frozen=True)

    home: Path = Field(Path(".neve"), description="Folder of everything that is kept on this machine.")
    port: int = Field(8000, ge=1, le=64000, description="Public port; the next one publishes the store's S3.")
    store: StoreSettings = StoreSettings()
    tiers: dict[TierName, TierSettings] = Field(default_factory=default_tiers)
    policy: PolicySettings = PolicySettings()
    rules: list[RuleSettings] = []
    worker: WorkerSettings = WorkerSettings()
    proof: ProofSettings = ProofSettings()
    notices: NoticeSettings = NoticeSettings()
    reception: ReceptionSettings = ReceptionSettings()
    ledger: LedgerSettings = LedgerSettings()
    api: ApiSettings = ApiSettings()
    team: TeamSettings = TeamSettings()
    backup: BackupSettings = BackupSettings()
    login: LoginSettings = LoginSettings()
    hub: HubSettings = HubSettings()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003  # pydantic's signature
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (env_settings, init_settings)

    @model_validator(mode="after")
    def _coherent(self) -> Settings:
        if "hot" not in self.tiers:
            raise ValueError("[tiers.hot] is missing: what arrives lands there")
        if self.tiers["hot"].recall != "never":
            raise ValueError("tiers.hot.recall must be never: hot is read at once")
        if self.tiers["hot"].bundles:
            raise ValueError("tiers.hot.bundles must be false: in hot every file stands at its path")
        if len({t.prices.currency for t in self.tiers.values()}) > 1:
            raise ValueError("tiers.*.prices.currency must be the same in every tier: sums are made over them")
        for number, rule in enumerate(self.rules):
            for name in rule.keep:
                if name not in self.tiers:
                    raise ValueError(f"rules.{number}.keep names the tier {name!r}, which is none of {', '.join(self.tiers)}")
                if self.tiers[name].keep is None:
                    raise ValueError(f"rules.{number}.keep cannot shorten the tier {name!r}, which keeps for ever")
        self._share_no_bucket()
        self._reaches(self._rules([]), "policy")
        for number, rule in enumerate(self.rules):
            self._reaches(self._rules([rule]), f"rules.{number}")
            self._reaches(self._rules(self.rules[: number + 1]), f"rules.{number} with those before it")
        return self

    def _share_no_bucket(self) -> None:
        buckets: dict[tuple[str | None, str], str] = {}
        for name, tier in self.tiers.items():
            other = buckets.setdefault((self.tier_endpoint(name), tier.bucket), name)
            if other != name:
                raise ValueError(f"tiers.{other} and tiers.{name} share the bucket {tier.bucket}: give each tier a bucket of its own")
        for setting, bucket, what in (("team", self.team.bucket, "team notebooks"), ("backup", self.backup.bucket, "backups")):
            shared = bucket and buckets.setdefault((self.store.endpoint_url, bucket), setting)
            if shared and shared != setting:
                of = f"tiers.{shared}" if shared in self.tiers else shared
                raise ValueError(f"{setting}.bucket is the bucket of {of}: {what} need a bucket of their own")

    def _reaches(self, rules: Rules, where: str) -> None:
        """Refuse rules under which some age has tiers in fewer places than it asks copies for."""
        if all(keep is not None for keep in rules.keep.values()):
            raise ValueError("no tier keeps for ever: leave `keep` out of one tier, or the oldest data would have no copy")
        until = self.policy.copies_min_until
        ends = {timedelta(0), until, *(keep for keep in rules.keep.values() if keep is not None)}
        for at in sorted(ends):
            least = rules.copies_min_first if at < until else rules.copies_min_after
            places = {self.tiers[name].place for name, keep in rules.keep.items() if keep is None or keep > at}
            if len(places) < least:
                raise ValueError(
                    f"{where} asks for {least} copies in distinct places at age {at.days} days, but the tiers that keep data then are in "
                    f"{len(places)} place(s): lower copies_min, keep longer, or name another place"
                )

    def rules_for(self, project: str, instrument: str) -> Rules:
        """What holds for this project's data from this instrument."""
        return self._rules([r for r in self.rules if fnmatchcase(project, r.project) and fnmatchcase(instrument, r.instrument)])

    def _rules(self, fitting: Sequence[RuleSettings]) -> Rules:
        keep = {name: tier.keep for name, tier in self.tiers.items()}
        base = self.policy
        said: dict[str, Any] = {
            "copies_min_first": base.copies_min_first,
            "copies_min_after": base.copies_min_after,
            "bundle_below_bytes": base.bundle_below_bytes,
            "bundle_max_bytes": base.bundle_max_bytes,
            "retention": base.retention,
        }
        for rule in fitting:
            keep.update(rule.keep)
            said.update({name: value for name in said if (value := getattr(rule, name)) is not None})
        return Rules(keep=keep, **said)

    @property
    def ledger_url(self) -> str:
        return self.ledger.url or f"sqlite:///{self.home.resolve() / 'ledger' / 'neve.sqlite'}"

    def tier_endpoint(self, tier: str) -> str | None:
        return self.tiers[tier].endpoint_url or self.store.endpoint_url


def settings_file() -> Path | None:
    """The settings file of the usual places that is there, or None."""
    named = os.environ.get("NEVE_CONFIG")
    if named:
        return Path(named)
    for path in (Path("neve.toml"), Path(os.environ.get("NEVE_HOME", ".neve")) / "neve.toml"):
        if path.is_file():
            return path
    return None


def load(path: Path | None = None) -> Settings:
    """Read the settings from `path`, or from the usual places; the environment wins.

    Raises `WrongSetting` with the key, what is wrong, and where.
    """
    file = path or settings_file()
    try:
        return Settings(**(tomllib.loads(file.read_text("utf-8")) if file else {}))
    except OSError as error:
        raise WrongSetting(
            f"The settings file {file} cannot be read: {error.strerror}.", "Name a readable file with --config or NEVE_CONFIG."
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise WrongSetting(f"{file} is not valid TOML: {error}.", "Mend that line; neve.example.toml shows every setting.") from None
    except SettingsError as error:
        raise WrongSetting(f"An environment variable is not readable: {error}.", "Write tables as JSON, or use NEVE_TABLE__KEY.") from None
    except ValidationError as error:
        raise _wrong(error, f"{file} or the environment" if file else "the environment") from None


class _Exact(Settings):
    """Settings as given: the environment has no say."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (init_settings,)


POLICY_TABLES = frozenset({"tiers", "policy", "rules"})
"""The tables that decide which copies are wanted."""


def exactly(document: Mapping[str, Any], where: str) -> Settings:
    """The settings that `document` says, whatever the environment says. Raises `WrongSetting` that names `where`."""
    try:
        return _Exact(**document)
    except ValidationError as error:
        raise _wrong(error, where) from None


def changed(settings: Settings, change: Mapping[str, Any], where: str) -> Settings:
    """`settings` with what `change` says of [policy], [tiers.*] and [[rules]] laid over them; [[rules]] are replaced as a whole.

    Raises `WrongSetting`: another table, an unknown key, a wrong type, or settings that contradict each other.
    """
    for table, said in change.items():
        if table not in POLICY_TABLES:
            raise WrongSetting(f"{table}: it plays no part in a policy (in {where}).", "A policy has [policy], [tiers.*] and [[rules]].")
        if table != "rules" and not isinstance(said, Mapping):
            raise WrongSetting(f"{table}: it is not a table (in {where}).", "neve.example.toml shows every setting with its type and default.")
    # In Python's own types, so that a value keeps its meaning; what is said is checked as in neve.toml.
    return exactly(_laid_over(settings.model_dump(), change), where)


def _laid_over(base: Mapping[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in change.items():
        below = merged.get(key)
        merged[key] = _laid_over(below, value) if isinstance(below, Mapping) and isinstance(value, Mapping) else value
    return merged


def _wrong(error: ValidationError, where: str) -> WrongSetting:
    first = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"]) or "settings"
    what = "is not a setting" if first["type"] == "extra_forbidden" else first["msg"].removeprefix("Value error, ")
    return WrongSetting(f"{key}: {what} (in {where}).", "neve.example.toml shows every setting with its type and default.")
