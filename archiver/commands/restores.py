"""`archiver restores …` and `archiver quota …`: what people have asked for, and how much they may."""

from __future__ import annotations

from typing import Annotated

import typer

from archiver import describe, facts, quotes
from archiver import restore as restoring
from archiver.archive import Archive
from archiver.commands.context import Json, archive_of, out, print_json
from archiver.errors import NotFound, WrongUse

restores_cli = typer.Typer(no_args_is_help=True, help="What people have asked to have back.")
quota_cli = typer.Typer(no_args_is_help=True, help="How much a user or project may have restored and held at once.")

Number = Annotated[int, typer.Argument(metavar="ID")]


def quoted(archive: Archive, dataset: str, files: str | None, days: int | None, *, as_json: bool) -> None:
    """`archiver restore --quote`: what it would mean."""
    said = quotes.quote(archive, "admin", [dataset], files, days, None, admin=True)
    answer = said.answer
    if as_json:
        print_json({"id": said.id, "expires_at": describe.time(said.expires_at), **answer})
        return
    ready = answer["ready"]
    basis = f"learned from {ready['observations']} restores" if ready["learned"] else "the promise"
    out.print(
        f"{', '.join(answer['datasets'])}: {answer['files']:,} file(s), {answer['size_bytes']:,} bytes, of which {answer['hot_bytes']:,} are in hot"
    )
    out.print(f"to recall: {answer['recall_objects']:,} object(s), {answer['recall_bytes']:,} bytes")
    out.print(f"ready in {ready['at_least_s']:,.0f} to {ready['at_most_s']:,.0f} s ({basis}); {answer['days']} days; {answer['cost']['text']}")
    left = answer["room"]["left_bytes"]
    waits = "" if answer["room"]["fits"] else ": it waits until there is room"
    out.print("room in hot: " + ("as much as needed" if left is None else f"{max(left, 0):,} bytes are left{waits}"))
    for quota in answer["quotas"]:
        over = "" if quota["fits"] else ": too little"
        left_text = "no limit" if quota["left_bytes"] is None else f"{quota['left_bytes']:,} of {quota['limit_bytes']:,} bytes are left{over}"
        out.print(f"quota of the {quota['kind']} {quota['name']}: {left_text}", markup=False)
    out.print("An admin has to approve it first." if answer["needs_approval"] else "Nobody has to approve it.")


@restores_cli.command("list")
def restores_list(context: typer.Context, limit: Annotated[int, typer.Option(min=1, max=1000)] = 50, as_json: Json = False) -> None:
    """List restores, newest first."""
    with archive_of(context).ledger.read() as tx:
        documents = describe.restores(tx, tx.restores(None, None, None, limit))
    if as_json:
        print_json(documents)
    for document in () if as_json else documents:
        out.print(_line(document), markup=False)


@restores_cli.command("approve")
def restores_approve(context: typer.Context, number: Number, as_json: Json = False) -> None:
    """Let a large restore go on."""
    archive = archive_of(context)
    _say(archive, restoring.approve(archive, "admin", number).id, as_json=as_json)


@restores_cli.command("deny")
def restores_deny(
    context: typer.Context, number: Number, reason: Annotated[str, typer.Option(help="For the person who asked.")], as_json: Json = False
) -> None:
    """Refuse a large restore, with the reason."""
    archive = archive_of(context)
    _say(archive, restoring.deny(archive, "admin", number, reason).id, as_json=as_json)


@restores_cli.command("cancel")
def restores_cancel(context: typer.Context, number: Number, as_json: Json = False) -> None:
    """Take a restore back: what is queued stops at once."""
    archive = archive_of(context)
    _say(archive, restoring.cancel(archive, "admin", number, None, admin=True).id, as_json=as_json)


@restores_cli.command("extend")
def restores_extend(
    context: typer.Context, number: Number, days: Annotated[int, typer.Option(help="Days more in hot.")], as_json: Json = False
) -> None:
    """Keep a restore longer."""
    archive = archive_of(context)
    _say(archive, restoring.extend(archive, "admin", number, days, None, admin=True).id, as_json=as_json)


@restores_cli.command("retry")
def restores_retry(
    context: typer.Context,
    number: Number,
    files: Annotated[str | None, typer.Option(help="Only the files whose path matches this glob.")] = None,
    as_json: Json = False,
) -> None:
    """Have files tried again that were given up."""
    archive = archive_of(context)
    restoring.retry(archive, "admin", number, files, None, admin=True)
    _say(archive, number, as_json=as_json)


def _say(archive: Archive, number: int, *, as_json: bool) -> None:
    with archive.ledger.read() as tx:
        document = describe.restores(tx, [tx.restore(number)])[0]
    if as_json:
        print_json(document)
    else:
        out.print(_line(document), markup=False)


def _line(document: describe.Document) -> str:
    end = f", promised by {document['promised_by']}" if document["promised_by"] else ""
    if document["expires_at"]:
        end = f", in hot until {document['expires_at']}"
    if document["ended_at"]:
        end = ""
    why = f": {document['error']}" if document["error"] else ""
    return f"restore {document['id']} of {document['dataset']} by {document['user']} is {document['state']}{end}{why}"


@quota_cli.command("list")
def quota_list(context: typer.Context, as_json: Json = False) -> None:
    """List the limits that differ from the settings'."""
    archive = archive_of(context)
    with archive.ledger.read() as tx:
        own = [{"kind": q.kind, "name": q.name, "limit_bytes": q.limit_bytes} for q in tx.quotas()]
    rules = archive.settings.policy
    default = {"user": rules.quota_user_bytes, "project": rules.quota_project_bytes}
    if as_json:
        print_json({"default": default, "own": own})
        return
    for kind, limit in default.items():
        out.print(f"each {kind}: {_shown(limit)}")
    for quota in own:
        out.print(f"{quota['kind']} {quota['name']}: {_shown(quota['limit_bytes'])}", markup=False)  # type: ignore[arg-type]


@quota_cli.command("set")
def quota_set(
    context: typer.Context,
    kind: Annotated[str, typer.Argument(metavar="user|project")],
    name: Annotated[str, typer.Argument(metavar="NAME")],
    limit: Annotated[
        str, typer.Argument(metavar="SIZE|none|default", help="Bytes, or with kB, MB, GB, TB, GiB, TiB; none: no limit; default: the settings'.")
    ],
) -> None:
    """Give a user or project a limit of its own."""
    if kind not in {"user", "project"}:
        raise WrongUse(f"{kind!r} has no quota.", "Say user or project.")
    with archive_of(context).ledger.begin("admin") as tx:
        if kind == "project" and name not in {p.name for p in tx.projects()}:
            raise NotFound(f"There is no project {name!r}.", "`archiver projects list` names them.")
        if limit == "default":
            tx.drop_quota(kind, name)
        else:
            tx.set_quota(kind, name, None if limit == "none" else facts.size(limit))


def _shown(limit: int | None) -> str:
    return "no limit" if limit is None else f"{limit:,} bytes"
