"""A scientist's side of Névé: the catalog, the data, and the way back for what went down to the deep archive.

    import neve
    cat = neve.catalog()                  # every dataset you may read
    data = cat["saxs/run42"].read()       # an xarray Dataset, wherever it lies
    neve.restore("saxs/run07").wait()     # back from the deep archive, at the same path

Law: importing this is light (no HTTP, no arrays, no S3). Each public name is imported when it is first used, and nothing here imports `archiver`.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from neve.browsing import Browser, browse
    from neve.client import Client, credentials
    from neve.downloading import Downloaded, download
    from neve.errors import (
        Ambiguous,
        ColdDataError,
        Conflict,
        NeveError,
        NoRoom,
        NotAllowed,
        NotFound,
        NotReadyInTime,
        NotSignedIn,
        OverQuota,
        PartlyRestored,
        QuoteChanged,
        QuoteExpired,
        RestoreFailed,
        ServiceUnavailable,
        StillArriving,
        StoreUnavailable,
        UnreadableData,
        WrongUse,
    )
    from neve.intake_catalog import NeveCatalog, catalog
    from neve.keeping import end_hold, hold, holds, notices
    from neve.preflight_check import Preflight, preflight
    from neve.publishing import NotPublished, publish
    from neve.readers import DatasetReader
    from neve.remarks import Listing, comment, comments, lineage, ls, tag
    from neve.restores import Restoration, quote, restore
    from neve.webhooks import AlreadySeen, WrongSignature, verify_webhook
    from neve.widget import RestoreButton, restore_button

_HOME_OF = {
    "Browser": "browsing",
    "browse": "browsing",
    "Client": "client",
    "credentials": "client",
    "Downloaded": "downloading",
    "download": "downloading",
    "Listing": "remarks",
    "comment": "remarks",
    "comments": "remarks",
    "lineage": "remarks",
    "ls": "remarks",
    "tag": "remarks",
    "Ambiguous": "errors",
    "ColdDataError": "errors",
    "Conflict": "errors",
    "NeveError": "errors",
    "NoRoom": "errors",
    "NotAllowed": "errors",
    "NotFound": "errors",
    "NotReadyInTime": "errors",
    "NotSignedIn": "errors",
    "OverQuota": "errors",
    "PartlyRestored": "errors",
    "QuoteChanged": "errors",
    "QuoteExpired": "errors",
    "RestoreFailed": "errors",
    "ServiceUnavailable": "errors",
    "StillArriving": "errors",
    "StoreUnavailable": "errors",
    "UnreadableData": "errors",
    "WrongUse": "errors",
    "end_hold": "keeping",
    "hold": "keeping",
    "holds": "keeping",
    "notices": "keeping",
    "NeveCatalog": "intake_catalog",
    "catalog": "intake_catalog",
    "Preflight": "preflight_check",
    "preflight": "preflight_check",
    "NotPublished": "publishing",
    "publish": "publishing",
    "DatasetReader": "readers",
    "Restoration": "restores",
    "quote": "restores",
    "restore": "restores",
    "AlreadySeen": "webhooks",
    "WrongSignature": "webhooks",
    "verify_webhook": "webhooks",
    "RestoreButton": "widget",
    "restore_button": "widget",
}

__all__ = [
    "AlreadySeen",
    "Ambiguous",
    "Browser",
    "Client",
    "ColdDataError",
    "Conflict",
    "DatasetReader",
    "Downloaded",
    "Listing",
    "NeveCatalog",
    "NeveError",
    "NoRoom",
    "NotAllowed",
    "NotFound",
    "NotPublished",
    "NotReadyInTime",
    "NotSignedIn",
    "OverQuota",
    "PartlyRestored",
    "Preflight",
    "QuoteChanged",
    "QuoteExpired",
    "Restoration",
    "RestoreButton",
    "RestoreFailed",
    "ServiceUnavailable",
    "StillArriving",
    "StoreUnavailable",
    "UnreadableData",
    "WrongSignature",
    "WrongUse",
    "browse",
    "catalog",
    "comment",
    "comments",
    "credentials",
    "download",
    "end_hold",
    "hold",
    "holds",
    "lineage",
    "ls",
    "notices",
    "preflight",
    "publish",
    "quote",
    "restore",
    "restore_button",
    "tag",
    "verify_webhook",
]


def __getattr__(name: str) -> Any:
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module 'neve' has no attribute {name!r}")
    value = getattr(import_module(f"neve.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


if "IPython" in sys.modules:
    from neve.ipython import register

    register()
