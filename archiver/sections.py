"""The tables of neve.toml, one class each. What each setting means stands in its description; neve.example.toml is made of them.

Law: an unknown key is refused. Durations are ISO 8601; sizes are bytes.
"""

from __future__ import annotations

import re
from datetime import time, timedelta
from ipaddress import IPv4Network
from pathlib import Path
from typing import Annotated, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import BaseModel, ByteSize, ConfigDict, Field, field_validator, model_validator

TierName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{1,30}$")]

ProfileName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,30}$")]
MemoryLimit = Annotated[str, Field(pattern=r"^[1-9][0-9]*[MGT]$")]
"""A number and M, G or T: 2^20, 2^30 or 2^40 bytes."""

COLD_CLASSES = frozenset({"GLACIER", "DEEP_ARCHIVE"})
"""Storage classes whose objects must be recalled (`restore_object`) before they are read."""
MAX_PARTS = 9_000
"""Most parts of one upload; S3 ends at 10,000."""


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
    reaper_profile: str = Field("reaper", description="Profile in that file for the reaper: the only identity that ends copies outside hot.")
    setup_profile: str = Field(
        "setup", description="Profile in that file with which `archiver setup` makes buckets; where there is none, the everyday identity's."
    )
    public_endpoint_url: str | None = Field(None, description="S3 endpoint as notebooks and browsers reach it; empty means endpoint_url.")


class PriceSettings(Section):
    """What a tier costs. A price that is left out is unknown, and every sum it would enter is shown as unknown, never as zero."""

    currency: str = Field("EUR", min_length=3, max_length=3, description="ISO 4217 code; the same in every tier.")
    storage_gb_month: float | None = Field(None, ge=0, description="Per 10^9 bytes and month (a twelfth of 365 days).")
    write_per_1000: float | None = Field(None, ge=0, description="Per 1,000 PUT, COPY and multipart requests.")
    read_per_1000: float | None = Field(None, ge=0, description="Per 1,000 GET and HEAD requests.")
    recall_per_1000: float | None = Field(None, ge=0, description="Per 1,000 recalls (restore_object).")
    retrieval_gb: float | None = Field(None, ge=0, description="Per 10^9 bytes read or recalled.")
    transfer_out_gb: float | None = Field(None, ge=0, description="Per 10^9 bytes that leave the provider.")
    minimum_days: int = Field(0, ge=0, description="Days billed at least for each object.")
    source: str = Field("", description="Where the prices were read.")
    date: str = Field("", description="When (YYYY-MM-DD).")


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
    recalls_max: int | None = Field(None, ge=1, description="Recalls under way at once; empty means any number.")
    back_within: timedelta = Field(timedelta(0), description="The promise: a restore from here is ready within this time of the request.")
    bundles: bool = Field(False, description="Whether small files lie here in bundles (uncompressed tar); never in hot.")
    read_in_place: bool = Field(True, description="Whether notebooks may read copies here without a restore, where nothing must be recalled.")
    lock: timedelta | None = Field(
        None, description="Governance lock on each new copy (S3 Object Lock), never beyond the end of its claim; empty means none."
    )
    parallel: int | None = Field(None, ge=1, description="Transfers into this tier at once; empty means worker.parallel.")
    bandwidth_bytes_s: int | None = Field(None, ge=1, description="Bytes a second that one worker streams into this tier; empty means all it can.")
    prices: PriceSettings = PriceSettings()


def default_tiers() -> dict[str, TierSettings]:
    return {
        "hot": TierSettings(bucket="neve-hot", place="hot", keep=timedelta(days=60)),
        "archive": TierSettings(
            bucket="neve-archive", place="archive", storage_class="GLACIER_IR", keep=timedelta(days=730), back_within=timedelta(hours=4), bundles=True
        ),
        "deep": TierSettings(
            bucket="neve-deep", place="deep", storage_class="DEEP_ARCHIVE", recall="auto", back_within=timedelta(days=3), bundles=True
        ),
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
    hold_days_max: int = Field(730, ge=1, description="Most days until the end of a hold.")
    bundle_below_bytes: int = Field(2**20, ge=0, description="Files smaller than this are bundled, in tiers that take bundles; 0 means none.")
    bundle_max_bytes: int = Field(2**30, ge=2**20, description="A bundle is at most this large.")
    retention: timedelta | None = Field(
        None, gt=timedelta(0), description="Age from which two admins may have data erased by `archiver erase --past-retention`; empty means never."
    )
    clock_tolerance: timedelta = Field(timedelta(minutes=5), description="Nothing is dropped while clock and store, or last event, differ by more.")
    clock_silence: timedelta = Field(
        timedelta(days=14),
        description="After the archive was still for longer than this nothing is dropped until `archiver release`: a wrong clock looks the same.",
    )
    drops_per_day: int = Field(1_000_000, ge=1, description="Most copies dropped in 24 hours.")
    drop_bytes_per_day: int = Field(20 * 10**12, ge=1, description="Most bytes dropped in 24 hours.")
    early_end_percent: float = Field(
        5, ge=0, le=100, description="A change of settings that ends claims sooner on more than this share of the data waits for `archiver release`."
    )
    approval_above_bytes: int = Field(2 * 10**12, ge=0, description="A restore larger than this waits for an admin's approval.")
    quota_user_bytes: int | None = Field(5 * 10**12, ge=0, description="Bytes one user may have restored or held at once; empty means no limit.")
    quota_project_bytes: int | None = Field(None, ge=0, description="The same for all of a project; empty means no limit.")
    quote_valid: timedelta = Field(timedelta(hours=1), gt=timedelta(0), description="How long a quote can be taken up.")
    hot_capacity_bytes: int | None = Field(None, ge=1, description="Room in hot; empty means that the store grows as needed.")
    hot_reserve: timedelta = Field(timedelta(days=3), description="Room kept free in hot for arrivals of this long (pace of the last 30 days).")


class WorkerSettings(Section):
    """How the worker goes about it."""

    pause: timedelta = Field(timedelta(seconds=2), gt=timedelta(0), description="Time between two looks at the ledger when there is nothing to do.")
    parallel: int = Field(
        4,
        ge=1,
        le=64,
        description="Transfers under way at once, and as many proofs of what was sent; up to 250 small ones of one dataset go together as one.",
    )
    tries: int = Field(5, ge=1, description="Faults before a transfer is quarantined; a store that is away is waited for and counts as none.")
    backoff: timedelta = Field(timedelta(seconds=10), description="Wait after the first failed attempt; doubles each time, with jitter.")
    recall_poll: timedelta = Field(timedelta(minutes=5), description="Time between two looks at a running recall.")
    lease: timedelta = Field(timedelta(minutes=2), gt=timedelta(0), description="How long work is one worker's before another may take it.")
    part_bytes: int = Field(16 * 2**20, ge=5 * 2**20, description="Part size of uploads; larger files get larger parts (at most 9,000).")
    copy_in_parts_above_bytes: int = Field(
        5 * 2**30, ge=5 * 2**20, le=5 * 2**30, description="Server-side copies above this go part by part (S3 ends CopyObject at 5 GiB)."
    )


class ProofSettings(Section):
    """How it is shown, every day, that nothing is lost."""

    fixity_every: timedelta = Field(timedelta(days=180), gt=timedelta(0), description="Every readable copy is proven anew within this time.")
    listing_every: timedelta = Field(timedelta(days=30), gt=timedelta(0), description="Each tier is compared with the ledger within this time.")
    listing_keys_per_s: int = Field(500, ge=1, description="Keys compared in a second, at most.")
    drill_every: timedelta = Field(timedelta(days=30), gt=timedelta(0), description="A random cold dataset is brought back and compared this often.")
    drill_max_bytes: int = Field(10**9, ge=1, description="Datasets larger than this are not chosen for a drill.")


class NoticeSettings(Section):
    """Messages to people: "leaving hot soon", restores that are ready, what needs an admin."""

    before_days: list[int] = Field([14, 7, 1], description="Days before a dataset leaves hot at which its project's members are told.")
    smtp_host: str | None = Field(None, description="Mail server; empty means no mail.")
    smtp_port: int = Field(587, ge=1, le=65535, description="Its port.")
    smtp_security: Literal["starttls", "tls", "none"] = Field("starttls", description="How the connection is encrypted.")
    smtp_user: str | None = Field(None, description="User at the mail server; empty means no login.")
    smtp_password_file: Path | None = Field(None, description="File with that user's password.")
    sender: str = Field("neve@localhost", description="From address.")
    public_url: str | None = Field(None, description="Address of the catalog page in messages; empty means none is named.")
    admins: list[str] = Field([], description="Hub users who are told what needs an admin; none means the hub's admins.")
    webhook_hosts: list[str] = Field(
        [],
        description="Hosts to which users' webhooks may go, by https; none means no webhooks. A host at a private address needs that "
        "address here too; http is taken from a loopback address only.",
    )
    tries: int = Field(10, ge=1, description="Attempts before a message is given up.")


class RuleSettings(Section):
    """Other times and sizes for some projects or instruments; of several rules that fit, a later one wins."""

    project: str = Field("*", description="Projects it is for (glob).")
    instrument: str = Field("*", description="Instruments it is for (glob).")
    keep: dict[TierName, timedelta] = Field({}, description="Age until which policy claims a copy, by tier.")
    copies_min_first: int | None = Field(None, ge=1, description="See [policy].")
    copies_min_after: int | None = Field(None, ge=1, description="See [policy].")
    bundle_below_bytes: int | None = Field(None, ge=0, description="See [policy].")
    bundle_max_bytes: int | None = Field(None, ge=2**20, description="See [policy].")
    retention: timedelta | None = Field(None, gt=timedelta(0), description="See [policy].")


class ReceptionSettings(Section):
    """What arrives from instruments, and from people, over the network."""

    file_max_bytes: int = Field(5 * 2**40, ge=1, le=5 * 2**40, description="A file that is larger is refused (S3 ends at 5 TiB).")
    upload_valid: timedelta = Field(
        timedelta(hours=1), ge=timedelta(minutes=1), le=timedelta(days=7), description="How long a presigned request may be made; it is renewed."
    )
    parts_above_bytes: int = Field(16 * 2**20, ge=5 * 2**20, le=5 * 2**30, description="Larger files are sent in parts, which can be resumed.")
    project_max_bytes: dict[str, int] = Field(
        {},
        description="By project (glob, the first that fits; a quota of its own wins): no more is received once it holds so many bytes; senders wait.",
    )
    results: str = Field("results", min_length=1, max_length=200, description="What stands as instrument of the results that people publish.")
    quiet: timedelta = Field(timedelta(days=1), gt=timedelta(0), description="An open dataset into which nothing came for this long is closed.")
    max_open: timedelta = Field(timedelta(days=14), gt=timedelta(0), description="A dataset is closed after this long, whatever still comes.")
    silent_after: dict[str, timedelta] = Field(
        {}, description="By instrument (glob): admins and /health tell when nothing was heard of it for so long while it should measure."
    )
    measuring_days: list[Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]] = Field(
        ["mon", "tue", "wed", "thu", "fri", "sat", "sun"], description="Days on which instruments should measure."
    )
    measuring_from: time = Field(time(0, 0), description="From this time of the day on, in `zone`.")
    measuring_until: time = Field(time(23, 59, 59), description="Until this time of the day.")
    zone: str = Field("UTC", description="Time zone of the instruments (Europe/Paris): of the measuring hours, and of times in files that name none.")
    read_max_bytes: int = Field(64 * 2**30, ge=0, description="Files larger than this are not looked into for metadata.")
    reread_per_day_bytes: int = Field(
        50 * 2**30,
        ge=0,
        description="So much is read again in a day, at most, when a program's update reads more out of files; 0: nothing by itself.",
    )

    @field_validator("zone")
    @classmethod
    def _known_zone(cls, name: str) -> str:
        try:
            ZoneInfo(name)
        except (ZoneInfoNotFoundError, ValueError):
            raise ValueError(f"{name!r} is no time zone; write it as Europe/Paris") from None
        return name


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
    link_valid: timedelta = Field(
        timedelta(hours=12), ge=timedelta(minutes=1), le=timedelta(days=7), description="How long a link to a file of the store can be used."
    )
    downloads_at_once: int = Field(4, ge=1, le=100, description="Answers that stream data to one user at once.")
    session_hours: int = Field(12, ge=1, le=336, description="Longest time between two sign-ins of a browser.")


class TeamSettings(Section):
    """Notebooks that a project's members write together: a versioned bucket of their own, which is no tier."""

    bucket: str | None = Field(
        None, min_length=3, max_length=63, description="Bucket of team notebooks, at [store]'s endpoint; empty means none are offered."
    )
    role_arn: str | None = Field(
        None, description="Role that api.broker_profile assumes to write there, narrowed to one project; needed where a bucket is named."
    )

    @model_validator(mode="after")
    def _whole(self) -> TeamSettings:
        if (self.bucket is None) != (self.role_arn is None):
            raise ValueError("bucket and role_arn go together: without both no team notebooks are offered")
        return self


class BackupSettings(Section):
    """Homes, and what people share, are saved every night into a bucket of their own, encrypted (restic)."""

    bucket: str | None = Field(
        None, min_length=3, max_length=63, description="Bucket of the backups, at [store]'s endpoint; it is no tier's. Empty means none are made."
    )
    profile: str = Field("homes", description="Profile in store.credentials_file of the identity that reaches this bucket, and no other.")
    at: time = Field(time(2, 0), description="Time of day (UTC) from which on a night's backup is made; one that was missed is made up for.")
    keep_daily: int = Field(14, ge=1, description="Of so many days that have a backup the last one is kept.")
    keep_weekly: int = Field(8, ge=0, description="Of so many weeks that have one, too; what is older is forgotten, and its bytes are deleted.")


class LoginSettings(Section):
    """Who gets in: by the facility's own login (OpenID Connect); without an issuer, by a password of the hub's own for each user."""

    issuer: str | None = Field(
        None,
        pattern=r"^(https://\S+|http://(127\.0\.0\.1|localhost|\[::1\])[:/]\S*)$",
        description="The provider's issuer (https); empty means passwords.",
    )
    name: str = Field("the facility's login", min_length=1, description="What people call it: on the login page, and in what they are told.")
    client_id: str = Field("neve", description="This hub at the provider; its redirect URI is https://HUB/hub/oauth_callback.")
    client_secret_file: Path | None = Field(None, description="File with the client's secret.")
    scopes: list[str] = Field(
        ["openid", "profile", "email", "groups"],
        description="What is asked for; with offline_access (where the provider has it) groups are seen to for as long as a notebook runs.",
    )
    username_claim: str = Field("preferred_username", description="Claim that becomes the user's name, exactly as it is written.")
    groups_claim: str = Field("groups", description="Claim that holds the groups; a dot goes into a claim (realm_access.roles).")
    groups_from: Literal["userinfo", "id-token"] = Field("userinfo", description="Where the provider puts that claim.")
    group_pattern: str = Field(
        "/?(.+)", description="Regular expression for a whole group name; the first bracket that fits is the project. Others are none."
    )
    allowed_groups: list[str] = Field([], description="Projects (as the pattern gives them) whose members get in; *: whoever is in any.")
    admin_groups: list[str] = Field([], description="Groups (as the pattern gives them) whose members get in and are admins.")
    refresh: timedelta = Field(
        timedelta(minutes=1),
        ge=timedelta(seconds=1),
        le=timedelta(hours=1),
        description="How often the provider is asked again about those who work.",
    )
    logout: bool = Field(True, description="A logout here ends the provider's session too, where it can.")

    @field_validator("group_pattern")
    @classmethod
    def _has_a_bracket(cls, pattern: str) -> str:
        try:
            groups = re.compile(pattern).groups
        except re.error as error:
            raise ValueError(f"is no regular expression: {error}") from None
        if not groups:
            raise ValueError("has no bracket that says which part is the project")
        return pattern

    @model_validator(mode="after")
    def _closed(self) -> LoginSettings:
        if self.issuer is None:
            return self
        if self.client_secret_file is None:
            raise ValueError("issuer needs client_secret_file, with the secret that the provider gave this client")
        if not self.allowed_groups and not self.admin_groups:
            raise ValueError('issuer needs allowed_groups or admin_groups, or nobody would get in; ["*"] lets in whoever is in any group')
        return self


class ProfileSettings(Section):
    """A kind of notebook that people choose when theirs starts (with Docker); what it leaves out is as [hub] says."""

    description: str = Field("", max_length=300, description="What it is for, in words for those who choose.")
    image: str | None = Field(None, description="Notebook image; empty means hub.image.")
    cpu_limit: float | None = Field(None, gt=0, description="CPUs it may use; empty means hub.cpu_limit.")
    memory_limit: MemoryLimit | None = Field(None, description="Memory it may use; empty means hub.memory_limit.")
    gpus: int = Field(0, ge=0, description="NVIDIA GPUs that it gets; the engine needs NVIDIA's container runtime.")


class HubSettings(Section):
    """What the hub loads: login, spawner, mounts."""

    bind: str = Field("127.0.0.1", description="Address the public page listens on.")
    docker: Literal["auto", "always", "never"] = Field("auto", description="Notebooks in containers: if an engine answers, or else stop, or never.")
    image: str = Field("neve-singleuser:dev", description="Notebook image.")
    mounts: Literal["auto", "always", "never"] = Field(
        "auto", description="/data by s3fs and, beside it, /shared: if FUSE is there, or else stop, or never."
    )
    mounts_profile: str = Field("mounts", description="Profile in store.credentials_file of the read-only host identity that mounts hot.")
    public_mounts: int = Field(100, ge=0, description="How many public projects, latest first, stand in everybody's /data: a process of s3fs each.")
    cpu_limit: float = Field(2.0, gt=0, description="CPUs a notebook may use.")
    memory_limit: MemoryLimit = Field("4G", description="Memory a notebook may use.")
    home_quota: ByteSize | None = Field(
        None,
        ge=2**20,
        description="What a home may hold (bytes, or with MB, GB, TB, GiB, TiB): its owner is told from 80 % on, and when it is full no "
        "notebook starts until something is deleted; empty means no limit.",
    )
    profiles: dict[ProfileName, ProfileSettings] = Field(
        {}, description="Kinds of notebook to choose between, each a table [hub.profiles.NAME]; the first is the default. None: no choice."
    )
    firewall: Literal["auto", "always", "never"] = Field(
        "auto",
        description="Containers reach only what a notebook needs: if iptables rules can be set, or else stop, or never. "
        "auto stops too where the page listens beyond this machine, or internet is false.",
    )
    internet: bool = Field(True, description="Whether containers reach the internet; private networks and the cloud's metadata never.")
    reachable: list[IPv4Network] = Field(
        [], description="Private addresses or networks that containers reach all the same: a licence server, a proxy."
    )
    cull_idle: timedelta = Field(
        timedelta(hours=12),
        description="A notebook's server stops when for so long nobody used it, no kernel computed and no restore was waited for; PT0S: never.",
    )

    @field_validator("cull_idle")
    @classmethod
    def _long_enough(cls, idle: timedelta) -> timedelta:
        if idle and idle < timedelta(seconds=20):
            raise ValueError("is PT0S for never, or at least PT20S: sooner nobody would know that a server is used")
        return idle
