"""EDF, CBF, mar345, TIFF and marccd: what their headers say, and pixels as fabio reads them."""

import os
import struct
from datetime import UTC, datetime

import fabio
import numpy as np
import pytest
from fabio.marccdimage import HEADER_FORMAT, HEADER_NAMES
from fixtures import samples
from PIL import Image

from archiver.formats import extract
from archiver.model import MetadataState

AT = datetime(2021, 3, 16, 14, 6, 5, tzinfo=UTC)
PILATUS = {
    "detector": "PILATUS3 2M, S/N 24-0118, Soleil",
    "exposure": {"value": 0.099, "units": "s"},
    "exposure_period": {"value": 0.1, "units": "s"},
    "wavelength": {"value": 0.9793, "units": "A"},
    "distance": {"value": 0.25, "units": "m"},
    "pixel_size": {"value": [172e-6, 172e-6], "units": "m"},
    "beam_center": {"value": [1231.5, 1263.25], "units": "pixels"},
    "energy_threshold": {"value": 6330.0, "units": "eV"},
    "start_angle": {"value": 0.0, "units": "deg"},
    "angle_increment": {"value": 0.1, "units": "deg"},
}


def read(kind, path, **how):
    found = extract(samples.write(kind, path), path.name, zone="Europe/Paris", **how)
    assert (found.state, found.error, found.preview_error) == (MetadataState.OK, None, None)
    return found


def holds(found, **expected):
    assert {key: found.metadata.get(key) for key in expected} == expected


def shown(found, values):
    """The plot's values are the pixels (means of blocks where there are more than 64)."""
    step = -(-max(values.shape) // 64)
    blocks = [[values[y : y + step, x : x + step].mean() for x in range(0, values.shape[1], step)] for y in range(0, values.shape[0], step)]
    np.testing.assert_allclose(np.array(found.preview.plot["values"], float), blocks, rtol=1e-3)


def test_edf(tmp_path):
    found = read("edf", tmp_path / "a")
    assert (found.format, found.title, found.acquired_at) == ("edf", "Ge powder", AT)
    holds(
        found,
        shape=[40, 60],
        dtype="int32",
        start_time="2021-03-16T14:06:05Z",
        time_zone_assumed=True,
        time_zone="Europe/Paris",
        exposure={"value": 0.5, "units": "s"},
        wavelength={"value": 9.793e-11, "units": "m"},
        distance={"value": 0.25, "units": "m"},
        pixel_size={"value": 0.000172, "units": "m"},
        motors={"th": 1.5, "tth": 3.0},
    )
    assert found.metadata["header"]["HeaderID"] == "EH:000000:000000:000000"
    shown(found, samples.picture())
    assert found.preview.plot["signal"] == {"name": "image", "shape": [40, 60], "min": 0.0, "max": 1020.0}


@pytest.mark.parametrize("dtype", ["u1", "u2", "i2", "u4", "f4", "f8"])
def test_edf_of_many_frames_and_types(tmp_path, dtype):
    image = fabio.edfimage.EdfImage(data=samples.picture(dtype=dtype), header={})
    for index in (1, 2, 3):
        image.append_frame(data=samples.picture(dtype=dtype) + np.dtype(dtype).type(index), header={})
    image.write(str(tmp_path / "a"))
    found = extract(tmp_path / "a", "a")
    assert (found.state, found.metadata["shape"]) == (MetadataState.OK, [4, 40, 60])
    assert found.metadata["dtype"] == np.dtype(dtype).name
    with fabio.open(str(tmp_path / "a"), 3) as there:
        shown(found, there.data)


def test_edf_never_leads_to_another_file(tmp_path):
    (tmp_path / "passwd").write_bytes(b"secret" * 4000)
    header = "{\nEDF_DataBlockID = 1.Image.Psd ;\nEDF_BinaryFileName = passwd ;\nEDF_BinarySize = 0 ;\nByteOrder = LowByteFirst ;\n"
    (tmp_path / "a.edf").write_text(f"{header}DataType = UnsignedByte ;\nDim_1 = 60 ;\nDim_2 = 40 ;\n}}\n")
    found = extract(tmp_path / "a.edf", "a.edf")
    assert (found.state, found.metadata["in_other_file"], found.preview) == (MetadataState.OK, "passwd", None)


def test_cbf(tmp_path):
    found = read("cbf", tmp_path / "a")
    assert (found.format, found.acquired_at) == ("cbf", AT.replace(microsecond=123_000))
    holds(found, shape=[40, 60], dtype="int32", packed_by="x-CBF_BYTE_OFFSET", **PILATUS)
    shown(found, samples.picture())


def test_cbf_whose_checksum_is_wrong_or_whose_end_is_missing(tmp_path):
    whole = samples.write("cbf", tmp_path / "a").read_bytes()
    place = whole.index(b"\x0c\x1a\x04\xd5") + 100
    (tmp_path / "b").write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
    assert extract(tmp_path / "b", "b").error == "Its image is damaged: its checksum is not the one in the header."
    (tmp_path / "c").write_bytes(whole[:-600])
    found = extract(tmp_path / "c", "c")
    assert (found.state, found.metadata["exposure"]) == (MetadataState.FAILED, PILATUS["exposure"])
    assert "cut off" in found.error
    (tmp_path / "d").write_bytes(whole[: whole.index(b"\x0c\x1a\x04\xd5")])  # fabio's own reader would never come back
    assert "binary section does not begin" in extract(tmp_path / "d", "d").error


def test_mar345(tmp_path):
    found = read("mar345", tmp_path / "a")
    assert (found.format, found.acquired_at) == ("mar345", AT)
    holds(
        found,
        shape=[120, 120],
        dtype="uint32",
        wavelength={"value": 0.9793, "units": "A"},
        distance={"value": 250.0, "units": "mm"},
        exposure={"value": 30.0, "units": "s"},
        pixel_size={"value": [0.15, 0.15], "units": "mm"},
    )
    values = samples.picture(120, 120, "u4") * 100
    shown(found, values)
    assert found.preview.plot["signal"]["max"] == pytest.approx(values.max(), rel=1e-5)  # above 65,535: listed apart in the file


@pytest.mark.parametrize("dtype", ["u1", "u2", "i4", "f4"])
def test_tiff_of_pilatus(tmp_path, dtype):
    samples.tiff(tmp_path / "a", dtype)
    found = extract(tmp_path / "a", "a", zone="Europe/Paris")
    assert (found.format, found.state, found.acquired_at) == ("tiff", MetadataState.OK, AT.replace(microsecond=123_000))
    holds(found, shape=[40, 60], dtype=np.dtype(dtype).name, software="camserver", **PILATUS)
    shown(found, samples.picture(dtype=dtype))


@pytest.mark.parametrize(("packing", "said"), [("tiff_lzw", "LZW"), ("tiff_deflate", "deflate"), ("packbits", "PackBits")])
def test_packed_tiff(tmp_path, packing, said):
    samples.tiff(tmp_path / "a", "u2", compression=packing)
    found = extract(tmp_path / "a", "a")
    assert (found.state, found.metadata["packed_by"]) == (MetadataState.OK, said)
    shown(found, samples.picture(dtype="u2"))


def test_tiff_of_many_pages_in_colour_and_in_types_that_pillow_refuses(tmp_path):
    pages = [Image.fromarray(samples.picture(dtype="u2") + index) for index in range(4)]
    pages[0].save(tmp_path / "pages", "TIFF", save_all=True, append_images=pages[1:])
    assert extract(tmp_path / "pages", "pages").metadata["shape"] == [4, 40, 60]
    Image.fromarray(np.stack([samples.picture(dtype="u1")] * 3, -1)).save(tmp_path / "colour", "TIFF")
    found = extract(tmp_path / "colour", "colour")
    assert (found.metadata["shape"], found.preview.plot) == ([40, 60, 3], None)
    assert found.preview.png.startswith(b"\x89PNG")
    values = samples.picture(dtype=">f8")  # big-endian doubles
    tags = [(256, 4, 60), (257, 4, 40), (258, 3, 64), (259, 3, 1), (273, 4, 512), (278, 4, 40), (279, 4, values.nbytes), (339, 3, 3)]
    listed = b"".join(
        struct.pack(">HHI", tag, kind, 1) + struct.pack(">I" if kind == 4 else ">HH", *((value,) if kind == 4 else (value, 0)))
        for tag, kind, value in tags
    )
    head = b"MM\0*" + struct.pack(">IH", 8, len(tags)) + listed + b"\0\0\0\0"
    (tmp_path / "doubles").write_bytes(head.ljust(512, b"\0") + values.tobytes())
    found = extract(tmp_path / "doubles", "doubles")
    assert (found.state, found.metadata["dtype"]) == (MetadataState.OK, "float64")
    shown(found, values)


def test_marccd(tmp_path):
    found = read("marccd", tmp_path / "a.mccd")
    assert (found.format, found.title, found.acquired_at) == ("marccd", "lysozyme", AT)
    holds(
        found,
        shape=[64, 64],
        dtype="uint16",
        exposure={"value": 1.5, "units": "s"},
        wavelength={"value": 0.9793, "units": "A"},
        distance={"value": 250.0, "units": "mm"},
        beam_center={"value": [31.5, 32.25], "units": "pixels"},
        pixel_size={"value": [79.0, 79.0], "units": "um"},
    )
    header = fabio.marccdimage.interpret_header((tmp_path / "a.mccd").read_bytes()[1024:4096], HEADER_FORMAT, HEADER_NAMES)
    assert (header["exposure_time"], header["source_wavelength"], header["pixelsize_x"]) == (1500, 97930, 79000)  # the same offsets as fabio's
    with fabio.open(str(tmp_path / "a.mccd")) as there:
        shown(found, there.data)


@pytest.mark.parametrize("kind", ["edf", "cbf", "mar345", "tiff", "marccd", "png", "jpeg"])
@pytest.mark.parametrize("left", [0.6, 0.95])
def test_cut_off(tmp_path, kind, left):
    path = samples.write(kind, tmp_path / "a")
    os.truncate(path, int(path.stat().st_size * left))
    found = extract(path, "a")
    assert (found.format, found.state) == (kind, MetadataState.FAILED)
    assert "cut off" in found.error


def test_photos(tmp_path):
    found = read("jpeg", tmp_path / "a")
    assert (found.format, found.acquired_at) == ("jpeg", AT)
    holds(found, width=50, height=30, mode="RGB", exif={"Make": "Basler"}, time_zone="Europe/Paris")
    found = read("png", tmp_path / "b")
    assert (found.format, found.title, found.acquired_at) == ("png", "Sample on the stage", AT)
    holds(found, width=50, height=30, mode="RGB", time_zone_assumed=None)


def test_picture_of_sixteen_bits_is_a_measurement(tmp_path):
    Image.fromarray(samples.picture(dtype="u2") * 30).save(tmp_path / "a", "PNG")
    found = extract(tmp_path / "a", "a")
    assert (found.format, found.metadata["mode"]) == ("png", "I;16")
    shown(found, samples.picture(dtype="u2") * 30)


def test_exif_offset_is_a_zone(tmp_path):
    image = Image.new("RGB", (8, 8))
    exif = image.getexif()
    exif.get_ifd(0x8769).update({36867: "2021:03:16 15:06:05", 36881: "+01:00"})
    image.save(tmp_path / "a", "JPEG", exif=exif)
    found = extract(tmp_path / "a", "a", zone="Asia/Tokyo")
    assert found.acquired_at == AT
    assert "time_zone_assumed" not in found.metadata
