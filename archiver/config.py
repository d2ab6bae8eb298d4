"""Settings: one file `neve.toml`, every key optional, environment variables `NEVE_…` win (`NEVE_TIERS__HOT__BUCKET=…`).

Law: an unknown key or a wrong type stops the start with one sentence that names the key; nothing is guessed. The file is
`--config`, else $NEVE_CONFIG, else ./neve.toml, else $NEVE_HOME/neve.toml, else the defaults. Durations are ISO 8601 (`P60D`,
`PT5S`; a year is 365 days).
"""

from __future__ import annotations

import os
import tomllib
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, SettingsError

from archiver.errors import WrongSetting

TierName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{1,30}$")]


class Section(BaseModel):
    """A table of neve.toml; unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class StoreSettings(Section):
    """How the tiers' stores are reached; a tier may override each of these."""

    endpoint_url: str | None = Field(None, description="S3 endpoint; empty means AWS's own for the region.")
    region: str = Field("eu-west-3", description="S3 region.")
    credentials_file: Path | None = Field(
        None, description="AWS shared-credentials file with the archiver's keys; empty means the usual AWS chain (instance role)."
    )
    profile: str = Field("archiver", description="Profile in that file for the archiver's everyday identity.")
    public_endpoint_url: str | None = Field(None, description="S3 endpoint as notebooks and browsers reach it; empty means endpoint_url.")


class TierSettings(Section):
    """One tier: where copies lie, for how long age claims them there, and how they are read."""

    bucket: str = Field(min_length=3, max_length=63, description="Bucket.")
    endpoint_url: str | None = Field(None, description="S3 endpoint of this tier; empty means [store]'s.")
    storage_class: str = Field("STANDARD", description="S3 storage class given with each PUT and copy.")
    place: str = Field(description="Site or provider. Copies count as redundant only in distinct places.")
    keep: timedelta | None = Field(None, description="Age until which policy claims a copy here; empty means for ever.")
    recall: Literal["auto", "always", "never"] = Field(
        "never", description="Whether a copy must be recalled before it is read: auto asks HEAD, always and never do not ask."
    )
    recall_wait: timedelta = Field(
        timedelta(0),
        description="With recall = always, on a store without restore_object: how long a recall takes (the demo's stand-in for a robot).",
    )
    recall_keep: timedelta = Field(timedelta(days=7), description="How long a recalled copy shall stay readable.")
    recall_speed: Literal["Expedited", "Standard", "Bulk"] = Field("Standard", description="Glacier retrieval speed.")
    back_within: timedelta = Field(timedelta(0), description="The promise: a restore from here is ready within this time of the request.")


def _default_tiers() -> dict[str, TierSettings]:
    return {
        "hot": TierSettings(bucket="neve-hot", place="hot", keep=timedelta(days=60)),
        "archive": TierSettings(
            bucket="neve-archive", place="archive", storage_class="GLACIER_IR", keep=timedelta(days=730), back_within=timedelta(hours=4)
        ),
        "deep": TierSettings(bucket="neve-deep", place="deep", storage_class="DEEP_ARCHIVE", recall="auto", back_within=timedelta(days=3)),
    }


class PolicySettings(Section):
    """What age asks for, and what must remain before a copy may go."""

    age_from: Literal["received", "acquired"] = Field(
        "received", description="Age counts from when a dataset was received, or acquired (never later than received)."
    )
    copies_min_first: int = Field(2, ge=1, description="Proven copies in distinct places that must remain, while younger than copies_min_until.")
    copies_min_after: int = Field(1, ge=1, description="The same, from then on.")
    copies_min_until: timedelta = Field(timedelta(days=730), description="Age at which copies_min_first gives way to copies_min_after.")
    settle: timedelta = Field(timedelta(days=7), description="Data stays hot at least this long after receipt, however old it is.")
    grace: timedelta = Field(timedelta(hours=1), description="Time between the stub's appearance and the drop from hot.")
    fixity_period: timedelta = Field(timedelta(days=90), description="A proof older than this is renewed before it counts for a drop.")
    restore_days_default: int = Field(7, ge=1, description="Days a restore stays hot, from ready, when not said otherwise.")
    restore_days_max: int = Field(90, ge=1, description="Most days one restore may ask for.")


class WorkerSettings(Section):
    """How the worker goes about it."""

    pause: timedelta = Field(timedelta(seconds=2), gt=timedelta(0), description="Time between two looks at the ledger when there is nothing to do.")
    parallel: int = Field(4, ge=1, le=64, description="Transfers under way at once.")
    tries: int = Field(5, ge=1, description="Attempts before a transfer is quarantined.")
    backoff: timedelta = Field(timedelta(seconds=10), description="Wait after the first failed attempt; doubles each time, with jitter.")
    recall_poll: timedelta = Field(timedelta(minutes=5), description="Time between two looks at a running recall.")
    part_bytes: int = Field(16 * 2**20, ge=5 * 2**20, description="Part size of uploads; larger files get larger parts (at most 9,000).")
    copy_in_parts_above_bytes: int = Field(
        5 * 2**30, ge=5 * 2**20, le=5 * 2**30, description="Server-side copies above this go part by part (S3 ends CopyObject at 5 GiB)."
    )


class LedgerSettings(Section):
    """Where the ledger is."""

    url: str = Field("", description="SQLAlchemy URL; empty means SQLite at $NEVE_HOME/ledger/neve.sqlite.")


class ApiSettings(Section):
    """The archiver's HTTP side: an external service of the hub."""

    host: str = Field("127.0.0.1", description="Address the archiver listens on, behind the proxy.")
    port: int = Field(8020, ge=1, le=65535, description="Its port.")
    prefix: str = Field("/services/archiver/", pattern=r"^/(.*/)?$", description="URL prefix, as the hub gives it.")
    hub_api_url: str = Field("http://127.0.0.1:8081/hub/api", description="The hub's API.")
    hub_token_file: Path | None = Field(None, description="File with the service's API token; $JUPYTERHUB_API_TOKEN wins.")
    broker_profile: str = Field("broker", description="Profile in store.credentials_file that may assume broker_role_arn.")
    broker_role_arn: str | None = Field(None, description="Role assumed, narrowed to one project, for notebooks' short-lived keys.")
    sts_endpoint_url: str | None = Field(None, description="STS endpoint; empty means the store's endpoint, or AWS's.")
    credential_minutes: int = Field(60, ge=15, le=720, description="Life of a notebook's keys.")
    identity_seconds: int = Field(
        30, ge=1, le=60, description="How long the hub's answer about a token is believed; revoked rights last this much longer."
    )
    session_hours: int = Field(12, ge=1, le=336, description="Longest time between two sign-ins of a browser.")


class HubSettings(Section):
    """What the hub loads: login, spawner, mounts."""

    bind: str = Field("127.0.0.1", description="Address the public page listens on.")
    docker: Literal["auto", "always", "never"] = Field("auto", description="Notebooks in containers: if an engine answers, or else stop, or never.")
    image: str = Field("neve-singleuser:dev", description="Notebook image.")
    mounts: Literal["auto", "always", "never"] = Field("auto", description="/data by s3fs: if FUSE is there, or else stop, or never.")
    mounts_profile: str = Field("mounts", description="Profile in store.credentials_file of the read-only host identity that mounts hot.")
    cpu_limit: float = Field(2.0, gt=0, description="CPUs a notebook may use.")
    memory_limit: str = Field("4G", description="Memory a notebook may use.")


class Settings(BaseSettings):
    """Everything; see neve.example.toml."""

    model_config = SettingsConfigDict(env_prefix="NEVE_", env_nested_delimiter="__", extra="forbid", frozen=True)

    home: Path = Field(Path(".neve"), description="Folder of everything that is kept on this machine.")
    port: int = Field(8000, ge=1, le=64000, description="Public port; the next one publishes the store's S3.")
    store: StoreSettings = StoreSettings()
    tiers: dict[TierName, TierSettings] = Field(default_factory=_default_tiers)
    policy: PolicySettings = PolicySettings()
    worker: WorkerSettings = WorkerSettings()
    ledger: LedgerSettings = LedgerSettings()
    api: ApiSettings = ApiSettings()
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
        if not any(t.keep is None for t in self.tiers.values()):
            raise ValueError("no tier keeps for ever: leave `keep` out of one tier, or the oldest data would have no copy")
        for young, age, least in (
            (True, timedelta(0), self.policy.copies_min_first),
            (False, self.policy.copies_min_until, self.policy.copies_min_after),
        ):
            ages = sorted(
                {age, *(t.keep for t in self.tiers.values() if t.keep and (t.keep < self.policy.copies_min_until) == young and t.keep >= age)}
            )
            for at in ages:
                if young and at >= self.policy.copies_min_until:
                    continue
                places = {t.place for t in self.tiers.values() if t.keep is None or t.keep > at}
                if len(places) < least:
                    raise ValueError(
                        f"policy asks for {least} copies in distinct places at age {at.days} days, but the tiers that keep data then are in "
                        f"{len(places)} place(s): lower copies_min, keep longer, or name another place"
                    )
        return self

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
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"]) or "settings"
        what = "is not a setting" if first["type"] == "extra_forbidden" else first["msg"].removeprefix("Value error, ")
        where = f"{file} or the environment" if file else "the environment"
        raise WrongSetting(f"{key}: {what} (in {where}).", "neve.example.toml shows every setting with its type and default.") from None
