"""Bytes that nobody wrote: files of every format with bytes flipped, zeroed, moved, cut. Each costs at most its own metadata.

A seed that fails is printed: `mutant(kind, seed)` makes that file again.
"""

import json
import os
import random
import sys
import time

import pytest
from fixtures.samples import KINDS, write

from archiver.formats import extract, sandbox
from archiver.formats.preview import PREVIEW_MAX_BYTES
from archiver.formats.reading import METADATA_MAX_BYTES
from archiver.model import MetadataState

FUZZ_SEED = 20261125
EDGES = (b"\xff" * 8, b"\0" * 8, b"\x7f" + b"\xff" * 7, b"\xff\xff\xff\x7f", b"\0\0\0\1", b"9999999999", b"-1", b"\n", b'"', b"{}", b",,,,")


def mutant(original: bytes, seed: int) -> bytes:
    chance = random.Random(seed)
    content = bytearray(original)
    for _ in range(chance.choice([1, 2, 5, 30])):
        # headers stand at the beginning: that is where most of the damage is done
        place = chance.randrange(min(len(content), chance.choice([64, 1024, len(content)])))
        what = chance.randrange(6)
        if what == 0:
            content[place] = chance.randrange(256)
        elif what == 1:
            content[place] ^= 1 << chance.randrange(8)
        elif what == 2:
            edge = chance.choice(EDGES)
            content[place : place + len(edge)] = edge
        elif what == 3:
            content[place : place + 32] = chance.randbytes(32)
        elif what == 4:
            other = chance.randrange(len(content))
            content[place : place + 48] = content[other : other + 48]
        elif chance.random() < 0.3:
            del content[place:]
            content = content or bytearray(b"\n")
    return bytes(content)


def fuzz(kind, folder, count, seed=FUZZ_SEED):
    original = write(kind, folder / "original").read_bytes()
    path = folder / "mutant"
    failed = 0
    for number in range(seed, seed + count):
        path.write_bytes(mutant(original, number))
        before = path.read_bytes()
        started = time.monotonic()
        try:
            found = extract(path, kind, time_limit_s=3)
            assert time.monotonic() - started < 15
            assert len(json.dumps(found.metadata, allow_nan=False)) <= METADATA_MAX_BYTES
            assert (found.state is MetadataState.FAILED) == (found.error is not None)
            if found.preview:
                assert len(found.preview.png) + len(json.dumps(found.preview.plot, allow_nan=False)) <= PREVIEW_MAX_BYTES
            failed += found.state is MetadataState.FAILED
            assert path.read_bytes() == before
        except BaseException:
            sys.stdout.write(f"{kind}: mutant of seed {number}\n")
            raise
    assert failed  # or the damage would have met nothing
    assert extract(write(kind, folder / "again"), kind).state is MetadataState.OK


@pytest.mark.parametrize("kind", KINDS)
def test_two_hundred_mutants(kind, tmp_path):
    fuzz(kind, tmp_path, 200)


@pytest.mark.long
@pytest.mark.parametrize("kind", KINDS)
def test_two_thousand_mutants(kind, tmp_path):
    seed = int(os.environ.get("FUZZ_SEED", random.randrange(10**9)))
    sys.stdout.write(f"FUZZ_SEED={seed}\n")
    fuzz(kind, tmp_path, 2_000, seed)
    sandbox.end_children()
