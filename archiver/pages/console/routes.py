"""All pages of the console."""

from __future__ import annotations

from fastapi import APIRouter

from archiver.pages.console import announcing, audit, holds, overview, plans, project, projects, reception, restores, transfers

router = APIRouter()
for page in (overview, restores, transfers, holds, reception, projects, project, audit, plans, announcing):
    router.include_router(page.router)
