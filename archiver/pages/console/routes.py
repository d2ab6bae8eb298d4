"""All pages of the console."""

from __future__ import annotations

from fastapi import APIRouter

from archiver.pages.console import holds, overview, restores, transfers

router = APIRouter()
for page in (overview, restores, transfers, holds):
    router.include_router(page.router)
