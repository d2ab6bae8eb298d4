"""`python -m neve_hub.load_demo NOW FOLDER [--small]`: takes the demo's datasets into the archiver, as its command line would, in one process.

Law: NOW decides what the data are, so a loading that was cut off and begins again with the same NOW doubles nothing.
"""

from __future__ import annotations

import argparse
import sys
from datetime import datetime
from pathlib import Path

from archiver import app, config
from archiver.errors import PublicError
from neve_hub.demo import INSTRUMENTS, PROJECTS
from neve_hub.demo.load import take_in
from neve_hub.demo.simulate import DemoDataset, datasets

_SAID_EVERY = 10


def load(now: datetime, folder: Path, *, small: bool) -> None:
    """Add projects and instruments, then receive one dataset after the other; a line on stdout now and then."""
    archive = app.open_archive(config.load())
    with archive.ledger.begin() as tx:
        for name, title in PROJECTS.items():
            tx.add_project(name, title)
        for name, title in INSTRUMENTS.items():
            tx.add_instrument(name, title)
    total, count = len(datasets(now, small=small)), 0

    def receive(dataset: DemoDataset, place: Path) -> None:
        nonlocal count
        app.ingest(archive, dataset.project, dataset.instrument, dataset.name, [place])
        count += 1
        if count % _SAID_EVERY == 0 or count == total:
            sys.stdout.write(f"demo data: {count} of {total} datasets received\n")
            sys.stdout.flush()

    take_in(folder, now, receive, small=small)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("now", type=datetime.fromisoformat)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--small", action="store_true")
    options = parser.parse_args()
    try:
        load(options.now, options.folder, small=options.small)
    except PublicError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
