"""The child of `sandbox`: reads the files it is told of, one line of JSON in, one out, until its input ends.

Its bounds are set by itself before it imports anything that parses: address space, no core, no files written, and an alarm
per request whose default action ends the process even inside C code, in case the parent is no longer there to do it.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
from typing import Any

ADDRESS_SPACE_BYTES = 2 * 2**30


def _bound() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE_BYTES, ADDRESS_SPACE_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    signal.signal(signal.SIGALRM, signal.SIG_DFL)


def _answer(request: dict[str, Any]) -> dict[str, Any]:
    from archiver.formats import hdf5, netcdf  # noqa: PLC0415  after the bounds are set
    from archiver.formats.reading import Unreadable  # noqa: PLC0415
    from archiver.formats.times import iso  # noqa: PLC0415

    try:
        descriptor = os.open(request["path"], os.O_RDONLY | os.O_NONBLOCK)
    except OSError as error:
        return {"error": f"The file could not be opened: {error.strerror}."}
    try:
        # By descriptor: the C libraries need no opinion on names that are not UTF-8, and relative links lead nowhere.
        reading = (hdf5.read if request["content"] == "hdf5" else netcdf.read)(f"/dev/fd/{descriptor}")
        return {
            "format": reading.format,
            "title": reading.title,
            "acquired_at": iso(reading.acquired_at) if reading.acquired_at else None,
            "metadata": reading.metadata,
            "error": reading.problem,
        }
    except Unreadable as error:
        return {"error": str(error)}
    except MemoryError:
        return {"error": "Reading its description needs more memory than a file may have.", "last": True}
    except Exception as error:  # noqa: BLE001  a hostile file finds the exception nobody foresaw; the answer says which it was
        return {"error": f"Its structure is damaged ({type(error).__name__}: {str(error)[:200]})."}
    finally:
        os.close(descriptor)


def _say(answer: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(answer, allow_nan=False) + "\n")
    sys.stdout.flush()


def main() -> None:
    _bound()
    try:
        from archiver.formats import hdf5, netcdf  # noqa: F401, PLC0415  paid once, before the first request
    except ImportError as error:
        _say({"error": str(error)})
        return
    _say({"ready": True})
    for line in sys.stdin:
        request = json.loads(line)
        signal.setitimer(signal.ITIMER_REAL, float(request["limit_s"]) + 5)
        answer = _answer(request)
        signal.setitimer(signal.ITIMER_REAL, 0)
        _say(answer)


if __name__ == "__main__":
    main()
