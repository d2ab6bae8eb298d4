"""What the processes beside the hub begin with: a log's form, and a stop when they are told."""

from __future__ import annotations

import logging
import signal
import threading


def log_plainly() -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")


def told_to_stop() -> threading.Event:
    """Set once the process is asked to end."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    return stop
