"""`/announcements.atom`: what is announced, as JupyterLab takes its news. It is told to anybody, as the hub's login page tells it, too.

Source: Atom, RFC 4287.
"""

from __future__ import annotations

from xml.etree import ElementTree as ET

from fastapi import APIRouter
from starlette.responses import Response

from archiver import announce
from archiver.api.access import Here

router = APIRouter()


@router.get("/announcements.atom")
def announcements(archive: Here) -> Response:
    """One entry, or none."""
    with archive.ledger.read() as tx:
        told, now = announce.current(tx), tx.at
    feed = ET.Element("feed", xmlns="http://www.w3.org/2005/Atom")
    _say(feed, "urn:neve:announcements", "Névé", told.made_at if told else f"{now:%Y-%m-%dT%H:%M:%SZ}")
    if told:
        _say(ET.SubElement(feed, "entry"), f"urn:neve:announcement:{told.made_at}", told.text, told.made_at)
    return Response(ET.tostring(feed, "utf-8", xml_declaration=True), media_type="application/atom+xml")


def _say(place: ET.Element, number: str, title: str, updated: str) -> None:
    for name, text in (("id", number), ("title", title), ("updated", updated)):
        ET.SubElement(place, name).text = text
