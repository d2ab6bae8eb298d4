"""The child of `sandbox`: reads the files it is told of, one line of JSON in, one or two out, until its input ends.

Its bounds are set by itself before it imports anything that parses: address space, no core, no files written, and an alarm
per request whose default action ends the process even inside C code, in case the parent is no longer there to do it.
The first line is what the file says; if it announces a preview, a second line is that, so that no picture costs the words.
"""

from __future__ import annotations

import importlib
import json
import logging
import os
import resource
import signal
import sys
import warnings
from collections.abc import Iterator
from typing import Any
from zoneinfo import ZoneInfo

ADDRESS_SPACE_BYTES = 2 * 2**30
READERS = {
    "hdf5": "hdf5",
    "netcdf3": "netcdf",
    "miniseed": "miniseed",
    "edf": "edf",
    "cbf": "cbf",
    "mar345": "mar345",
    "tiff": "tiff",
    "png": "photo",
    "jpeg": "photo",
    "spec": "spec",
    "mca": "mca",
    "table": "table",
}


def _bound() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE_BYTES, ADDRESS_SPACE_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    warnings.simplefilter("ignore")  # what libraries say of a file reaches nobody here; errors are exceptions
    logging.disable(logging.CRITICAL)


def answers(request: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """What the file says, then its preview if there is one."""
    from archiver.formats.reading import NotOfThisFormat, Source, Unreadable  # noqa: PLC0415  after the bounds are set

    try:
        descriptor = os.open(request["path"], os.O_RDONLY | os.O_NONBLOCK)
    except OSError as error:
        yield {"error": f"The file could not be opened: {error.strerror}."}
        return
    try:
        # Imported at its first use: a child that only meets HDF5 need not carry the others.
        reader = importlib.import_module(f"archiver.formats.{READERS[request['content']]}")
        steps = reader.read(Source(descriptor, ZoneInfo(request["zone"])))
        yield _said(next(steps))
        yield _seen(steps)
    except NotOfThisFormat:
        yield {"none": True}
    except Unreadable as error:
        yield {"error": str(error)}
    except ImportError as error:
        yield {"error": f"This installation cannot read it: {error}. Install neve[archiver] as a whole."}
    except MemoryError:
        yield {"error": "Reading its description needs more memory than a file may have.", "last": True}
    except Exception as error:  # noqa: BLE001  a hostile file finds the exception nobody foresaw; the answer says which it was
        yield {"error": f"Its structure is damaged ({type(error).__name__}: {_printable(error)})."}
    finally:
        os.close(descriptor)


def _said(reading: Any) -> dict[str, Any]:
    from archiver.formats.times import iso  # noqa: PLC0415

    return {
        "format": reading.format,
        "title": reading.title,
        "acquired_at": iso(reading.acquired_at) if reading.acquired_at else None,
        "metadata": reading.metadata,
        "error": reading.problem,
        "preview_follows": True,
    }


def _seen(steps: Iterator[Any]) -> dict[str, Any]:
    from archiver.formats.reading import Unreadable  # noqa: PLC0415

    try:
        preview = next(steps, None)
    except Unreadable as error:
        return {"error": str(error)}
    except MemoryError:
        return {"error": "Drawing it needs more memory than a file may have.", "last": True}
    except Exception as error:  # noqa: BLE001  as above
        return {"error": f"Its data are damaged or packed in a way not known here ({type(error).__name__}: {_printable(error)})."}
    return {"preview": preview.to_json() if preview else None}


def _printable(error: Exception) -> str:
    return "".join(c if c.isprintable() else " " for c in str(error)[:200])


def _say(answer: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(answer, allow_nan=False) + "\n")
    sys.stdout.flush()


def main() -> None:
    _bound()
    try:
        from archiver.formats import hdf5, netcdf  # noqa: F401, PLC0415  what most files are: paid once, before the first request
    except ImportError as error:
        _say({"error": str(error)})
        return
    _say({"ready": True})
    for line in sys.stdin:
        request = json.loads(line)
        signal.setitimer(signal.ITIMER_REAL, float(request["limit_s"]) + 5)
        for answer in answers(request):
            _say(answer)
        signal.setitimer(signal.ITIMER_REAL, 0)


if __name__ == "__main__":
    main()
