"""`archiver receipt`: the proof of one file."""

from __future__ import annotations

from typing import Annotated

import typer

from archiver import receipt as receipts
from archiver.commands.context import Json, archive_of, out, print_json


def receipt(
    context: typer.Context,
    dataset: Annotated[str, typer.Argument(help="Name, instrument/name, or number.")],
    path: Annotated[str, typer.Argument(help="The file's path in the dataset.")],
    as_json: Json = False,
) -> None:
    """Show where a file's bytes lie, how that was proven, and its history; --json is the whole receipt, to be verified by anyone."""
    archive = archive_of(context)
    with archive.ledger.read() as tx:
        document = receipts.of_path(tx, archive.settings, tx.find_dataset(dataset), path)
    if as_json:
        print_json(document)
        return
    file, chain = document["file"], document["chain"]
    out.print(f"{file['dataset']}: {file['path']}, {file['size_bytes']:,} bytes, {file['state']} {file['received_at'] or ''}", markup=False)
    out.print(f"sha256 {file['sha256']}  crc64nvme {file['crc64nvme']}", markup=False)
    for copy in document["copies"]:
        where = f"{copy['bucket']}/{copy['key']} ({copy['version_id']})"
        at = f", {copy['size_bytes']} bytes from {copy['offset_bytes']} on" if copy["bundled"] else ""
        out.print(f"{copy['tier']} ({copy['place']}): {where}{at}; {copy['proof']} {copy['proven_at']}", markup=False)
    for link in chain["links"]:
        if "kind" in link:
            out.print(f"{link['seq']:>6}  {link['at']}  {link['kind']} by {link['actor']}  {link['hash'][:16]}…", markup=False)
    if chain["head"]:
        out.print(f"head {chain['head']['seq']}: {chain['head']['hash']}")
    for anchor in document["anchors"]:
        out.print(f"anchored on {anchor['day']}: {anchor['bucket']}/{anchor['key']} sha256 {anchor['sha256']}", markup=False)
