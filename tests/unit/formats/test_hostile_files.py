"""Files made to harm: bombs, endless shapes, circles, ways to other files. Each costs at most its own metadata, in little time."""

import json
import os
import struct
import time
import zlib

import h5py
import numpy as np
import pytest
from fixtures import samples
from PIL import Image

from archiver.formats import VERSION, Extracted, extract
from archiver.formats.content import content_of
from archiver.model import MetadataState


def read(path) -> Extracted:
    started = time.monotonic()
    found = extract(path, path.name)
    assert time.monotonic() - started < 20
    json.dumps(found.metadata, allow_nan=False)
    return found


def png(path, width, height, pixels):
    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    )
    return path


def test_png_bombs(tmp_path):
    packer = zlib.compressobj(1)
    bomb = b"".join(packer.compress(bytes(2**24)) for _ in range(12)) + packer.flush()
    found = read(png(tmp_path / "a", 60_000, 60_000, bomb))
    assert (found.state, found.metadata["width"], found.preview) == (MetadataState.OK, 60_000, None)
    assert "no preview is drawn of more than" in found.preview_error
    found = read(png(tmp_path / "b", 10, 10, bomb))  # its header says little, its data are much
    assert found.metadata["width"] == 10
    assert read(png(tmp_path / "c", 2**31 - 1, 2**31 - 1, b"")).state in (MetadataState.OK, MetadataState.FAILED)


def test_png_text_bomb(tmp_path):
    samples.png(tmp_path / "a")
    whole = (tmp_path / "a").read_bytes()
    content = b"Comment\0\0" + zlib.compress(bytes(2**28))
    chunk = struct.pack(">I", len(content)) + b"zTXt" + content + struct.pack(">I", zlib.crc32(b"zTXt" + content))
    (tmp_path / "b").write_bytes(whole[:33] + chunk + whole[33:])
    assert read(tmp_path / "b").state in (MetadataState.OK, MetadataState.FAILED)


@pytest.mark.parametrize("packing", ["tiff_deflate", "tiff_lzw"])
def test_tiff_bombs(tmp_path, packing):
    Image.fromarray(np.zeros((8000, 8000), "u1")).save(tmp_path / "a", "TIFF", compression=packing)
    whole = bytearray((tmp_path / "a").read_bytes())
    assert len(whole) < 2_000_000
    assert read(tmp_path / "a").metadata["shape"] == [8000, 8000]
    for tag in (256, 257):  # the same data, said to be 100,000 × 100,000 pixels
        for kind in (3, 4):
            place = whole.find(struct.pack("<HHI", tag, kind, 1))
            if place >= 0:
                whole[place : place + 12] = struct.pack("<HHII", tag, 4, 1, 100_000)
    (tmp_path / "b").write_bytes(whole)
    found = read(tmp_path / "b")
    assert (found.metadata["shape"], found.preview) == ([100_000, 100_000], None)


def test_tiff_whose_pages_go_in_circles(tmp_path):
    samples.tiff(tmp_path / "a")
    whole = bytearray((tmp_path / "a").read_bytes())
    (place,) = struct.unpack_from("<I", whole, 4)
    (count,) = struct.unpack_from("<H", whole, place)
    struct.pack_into("<I", whole, place + 2 + 12 * count, place)
    (tmp_path / "a").write_bytes(whole)
    assert read(tmp_path / "a").metadata["shape"] == [40, 60]


def test_hdf5_of_endless_shape_and_chunks(tmp_path):
    with h5py.File(tmp_path / "a", "w") as file:
        file.create_dataset("wide", (2**40, 2**20), "f8", chunks=(1, 2**20))
        file.create_dataset("long", (2**62,), "i1", chunks=(2**20,))
        file.create_dataset("chunk", (2**31,), "i1", chunks=(2**31,), compression="gzip")
    found = read(tmp_path / "a")
    assert (found.state, found.metadata["datasets"]) == (MetadataState.OK, 3)


def test_nexus_that_leads_elsewhere(tmp_path):
    """As default, signal and axes: external links, external storage, virtual datasets, and links to those."""
    with h5py.File(tmp_path / "secret.h5", "w") as file:
        file["data"] = np.full((50, 50), 1234567.0)
        file["line"] = np.arange(50.0)
    (tmp_path / "bytes").write_bytes(b"7654321\n" * 2500)
    for index, way in enumerate(("external link", "soft to external", "external storage", "virtual", "virtual of external", "axis")):
        path = tmp_path / f"{index}.nxs"
        with h5py.File(path, "w") as file:
            entry = file.create_group("entry")
            entry.attrs.update({"NX_class": "NXentry", "default": "data"})
            data = entry.create_group("data")
            data.attrs.update({"NX_class": "NXdata", "signal": "signal", "axes": ["y", "x"]})
            if way in ("external link", "soft to external"):
                data["out" if way.startswith("soft") else "signal"] = h5py.ExternalLink(str(tmp_path / "secret.h5"), "/data")
                if way.startswith("soft"):
                    data["signal"] = h5py.SoftLink("/entry/data/out")
            elif way == "external storage":
                data.create_dataset("signal", (50, 50), "u1", external=[("/etc/passwd", 0, 500), (str(tmp_path / "bytes"), 0, 2000)])
            elif way == "axis":
                data["signal"] = np.zeros((50, 50)) + np.arange(50)
                data["x"] = h5py.ExternalLink(str(tmp_path / "secret.h5"), "/line")
            else:
                layout = h5py.VirtualLayout((50, 50), "f8")
                if way == "virtual":
                    layout[:] = h5py.VirtualSource(str(tmp_path / "secret.h5"), "data", (50, 50))
                else:
                    entry.create_dataset("raw", (50, 50), "f8", external=[(str(tmp_path / "bytes"), 0, 20_000)])
                    layout[:] = h5py.VirtualSource(".", "entry/raw", (50, 50))
                data.create_virtual_dataset("signal", layout)
        found = read(path)
        assert found.state is MetadataState.OK
        if way == "axis":
            assert found.preview.plot["axes"] == [{"name": "row"}, {"name": "column"}]
        else:
            assert found.preview is None
        told = json.dumps([found.metadata, found.preview.plot if found.preview else None])
        assert "1234567" not in told
        assert "root:" not in told


def test_default_that_leads_in_circles(tmp_path):
    samples.nexus(tmp_path / "a")
    with h5py.File(tmp_path / "a", "a") as file:
        file["second"].attrs["default"] = "self"
        file["second/self"] = h5py.SoftLink("/second")
    assert read(tmp_path / "a").preview.plot["signal"]["name"] == "counts"


def test_edf_of_endless_headers_and_dimensions(tmp_path):
    for name, content in (
        ("open", "{\nDim_1 = 10 ;\n" + "x = y ;\n" * 300_000),
        ("huge", "{\nDataType = Float ;\nDim_1 = 999999999 ;\nDim_2 = 999999999 ;\n}\n"),
        ("long", "{\nDataType = Float ;\nDim_1 = 100000 ;\nDim_2 = 100000 ;\nSize = 40000000000 ;\n}\n"),
        ("zero", "{\nDim_1 = 0 ;\nDim_2 = 4 ;\nDataType = Float ;\n}\n"),
        ("many", "{\nDim_1 = 1 ;\nDataType = UnsignedByte ;\nSize = 0 ;\n}\n" * 30_000),
    ):
        (tmp_path / name).write_text(content)
        assert read(tmp_path / name).state is MetadataState.FAILED


def test_edf_bomb(tmp_path):
    packed = zlib.compress(bytes(2**28))
    header = f"{{\nCOMPRESSION = ZCompression ;\nDataType = UnsignedByte ;\nDim_1 = 60 ;\nDim_2 = 40 ;\nSize = {len(packed)} ;\n}}\n"
    (tmp_path / "a").write_bytes(header.encode() + packed)
    assert read(tmp_path / "a").preview.plot["signal"]["max"] == 0.0


@pytest.mark.parametrize(
    "head",
    [
        "1" * 60_000 + "x,1\n",
        "a,b\n" + "1" * 30_000 + "x,1\n" + "1,2\n" * 9,
        "a" + " " * 60_000 + "b,c\n1,2\n",
        "\n" * 60_000,
        "# " * 30_000,
        "#\n" * 30_000,
        "#F x\n" + "#L\n" * 20_000,
        "{ " + "Dim_ " * 12_000,
        "$A:\n" * 15_000,
        '"' * 60_000,
        "1," * 30_000 + "\n",
        ("1," * 1000 + "1\n") * 30,
        "###CBF\n" + "\n" * 200_000 + "--CIF-BINARY-FORMAT-SECTION--\nX-Binary-Size: 4\n\x0c\x1a\x04\xd5",
        "###CBF\n# Pixel_size " + "1" * 200_000 + "--CIF-BINARY-FORMAT-SECTION--\nX-Binary-Size: 4\n\x0c\x1a\x04\xd5",
        "$SPEC_ID:\n$DATA:\n0 1\n1\n1\n$ENER_FIT:\n" + "1" * 500_000 + "x\n",
    ],
)
def test_texts_made_to_cost_time(tmp_path, head):
    """What looks at a file's beginning runs in the caller's process, without a limit of time: it needs little for anything."""
    (tmp_path / "a").write_bytes(head.encode("latin-1"))
    started = time.process_time()
    content_of(tmp_path / "a")
    assert time.process_time() - started < 1
    started = time.monotonic()
    read(tmp_path / "a")
    assert time.monotonic() - started < 8


def test_sparse_files_of_many_gigabytes(tmp_path):
    for kind in ("edf", "cbf", "mar345", "tiff", "png", "jpeg", "miniseed", "spec", "csv", "columns", "netcdf3", "nexus"):
        path = samples.write(kind, tmp_path / kind)
        os.truncate(path, 40 * 2**30)
        assert read(path).state in (MetadataState.OK, MetadataState.FAILED, MetadataState.NONE)


def test_zone_is_that_of_the_instrument(tmp_path):
    path = samples.write("nexus", tmp_path / "a")
    assert extract(path, "a", zone="America/Chicago").metadata["start_time"] == "2024-02-03T10:05:06Z"
    with pytest.raises(KeyError):
        extract(path, "a", zone="Mars/Olympus")
    assert VERSION == 3
