"""All pages of the console."""

from __future__ import annotations

from fastapi import APIRouter

from archiver.pages.console import overview, restores

router = APIRouter()
for page in (overview, restores):
    router.include_router(page.router)
