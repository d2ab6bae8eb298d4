"""All pages of the console."""

from __future__ import annotations

from fastapi import APIRouter

from archiver.pages.console import holds, overview, projects, reception, restores, transfers

router = APIRouter()
for page in (overview, restores, transfers, holds, reception, projects):
    router.include_router(page.router)
