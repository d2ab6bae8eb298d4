"""Pictures and plots: what is drawn is what the file holds, within 100 kB, whatever its size."""

import io
import json

import h5py
import hdf5plugin
import numpy as np
import pytest
from fixtures import samples
from PIL import Image

from archiver.formats import Preview, drawing, extract
from archiver.formats.preview import PREVIEW_MAX_BYTES
from archiver.model import MetadataState


def measured(preview: Preview) -> Image.Image:
    plot = json.dumps(preview.plot, allow_nan=False)
    assert len(preview.png) + len(plot) <= PREVIEW_MAX_BYTES
    picture = Image.open(io.BytesIO(preview.png))
    assert picture.format == "PNG"
    assert max(picture.size) <= 256
    assert Preview.from_json(json.loads(json.dumps(preview.to_json()))) == preview
    return picture


def seen(path) -> Preview:
    found = extract(path, path.name)
    assert (found.state, found.preview_error) == (MetadataState.OK, None)
    measured(found.preview)
    return found.preview


@pytest.mark.parametrize("kind", samples.KINDS)
def test_every_format_has_one(tmp_path, kind):
    preview = seen(samples.write(kind, tmp_path / "a"))
    if kind in ("png", "jpeg"):
        assert preview.plot is None
    else:
        assert preview.plot["kind"] in ("image", "line", "waveform")


def data(path, signal, **axes):
    with h5py.File(path, "w") as file:
        file.attrs["default"] = "entry"
        entry = file.create_group("entry")
        entry.attrs.update({"NX_class": "NXentry", "default": "wanted"})
        for name, values in (("other", np.arange(6)), ("wanted", signal)):
            group = entry.create_group(name)
            group.attrs.update({"NX_class": "NXdata", "signal": "counts"})
            group["counts"] = values
            group["counts"].attrs["units"] = "cps"
            if name == "wanted":
                group.attrs["axes"] = list(axes) or ["."]
                for axis, positions in axes.items():
                    group[axis] = positions
                    group[axis].attrs["units"] = "mm"
    return path


def test_default_leads_to_the_signal_and_its_axes(tmp_path):
    plot = seen(data(tmp_path / "a", samples.picture(), y=np.linspace(-1, 1, 40), x=np.linspace(5, 7, 60))).plot
    assert plot["signal"] == {"name": "counts", "units": "cps", "shape": [40, 60], "min": 0.0, "max": 1020.0}
    assert plot["axes"] == [{"name": "y", "units": "mm", "min": -1.0, "max": 1.0}, {"name": "x", "units": "mm", "min": 5.0, "max": 7.0}]
    np.testing.assert_allclose(plot["values"], samples.picture(), rtol=1e-3)


def test_default_of_the_file_may_lead_to_the_data_at_once(tmp_path):
    path = data(tmp_path / "a", samples.picture())
    with h5py.File(path, "a") as file:
        file.attrs["default"] = "/entry/other"
    assert seen(path).plot["series"][0]["y"] == [0, 1, 2, 3, 4, 5]


def test_line_over_its_axis_keeps_every_peak(tmp_path):
    values = np.zeros(100_000)
    values[[777, 55_555]] = 10, -20
    plot = seen(data(tmp_path / "a", values, x=np.arange(100_000) / 10)).plot
    assert (plot["kind"], plot["axes"]) == ("line", [{"name": "x", "units": "mm"}])
    [series] = plot["series"]
    assert (series["name"], series["units"], series["count"]) == ("counts", "cps", 100_000)
    assert len(series["x"]) <= 1000
    assert dict(zip(series["x"], series["y"], strict=True)).items() >= {77.7: 10.0, 5555.5: -20.0}.items()


@pytest.mark.parametrize("count", [999, 1000, 1001, 1499, 2001, 1_048_576, 1_048_577, 5_000_000])
def test_ends_of_every_stretch(count):
    values = np.random.default_rng(count).normal(size=count)
    [series] = drawing.lines("line", [drawing.Line("x", count, drawing.of_array(values))], drawing.Axis("i")).plot["series"]
    assert len(series["x"]) <= 1000
    assert series["x"] == sorted(series["x"])
    np.testing.assert_allclose(series["y"], values[np.array(series["x"], int)], rtol=1e-5)
    assert (min(series["y"]), max(series["y"])) == pytest.approx((values.min(), values.max()), rel=1e-5)
    assert "sampled" not in series


@pytest.mark.parametrize("count", [33_000_000, 10**9])
def test_a_very_long_line_is_sampled_and_said_to_be(count):
    read = []

    def y(start, stop):
        read.append(stop - start)
        return np.arange(start, stop) % 1000

    [series] = drawing.lines("line", [drawing.Line("x", count, y)], drawing.Axis("i")).plot["series"]
    assert series["sampled"] is True
    assert (len(series["x"]), min(series["y"]), max(series["y"])) == (2 * len(read), 0, 999)
    assert sum(read) <= 500 * 65_536


def test_a_gap_in_a_long_line_stays_a_gap():
    values = np.sin(np.arange(20_001) / 50)
    values[7_001] = np.nan
    [series] = drawing.lines("waveform", [drawing.Line("x", len(values), drawing.of_array(values))], drawing.Axis("i")).plot["series"]
    assert len(series["x"]) <= 1000
    assert [x for x, y in zip(series["x"], series["y"], strict=True) if y is None] == [7_001]


def test_middle_frame_of_a_stack_and_few_rows_as_lines(tmp_path):
    stack = np.arange(5)[:, None, None] * np.ones((5, 8, 8))
    plot = seen(data(tmp_path / "a", stack)).plot
    assert (plot["signal"]["frame"], plot["values"][0][0]) == ([2], 2.0)
    plot = seen(data(tmp_path / "b", np.arange(60).reshape(3, 20), z=np.arange(3), x=np.arange(20) * 2)).plot
    assert [(series["name"], series["x"][1], series["y"][0]) for series in plot["series"]] == [
        ("counts[0]", 2.0, 0.0),
        ("counts[1]", 2.0, 20.0),
        ("counts[2]", 2.0, 40.0),
    ]


def test_missing_and_endless_values_are_null(tmp_path):
    values = np.arange(20.0)
    values[[3, 4]] = np.nan, np.inf
    series = seen(data(tmp_path / "a", values)).plot["series"][0]
    assert series["y"][2:6] == [2.0, None, None, 5.0]
    image = samples.picture(dtype="f8")
    image[0, 0], image[1] = np.nan, -np.inf
    values = seen(data(tmp_path / "b", image)).plot["values"]
    assert (values[0][0], values[1]) == (None, [None] * 60)
    for empty in (np.full(9, np.nan), np.full((9, 9), np.nan), np.array(5), np.zeros((0, 4))):
        found = extract(data(tmp_path / "c", empty), "c")
        assert (found.state, found.preview_error) == (MetadataState.OK, None)
        assert found.preview.plot["series"][0]["y"] == [0, 1, 2, 3, 4, 5]  # of the other NXdata, which has something to see


def test_values_at_the_ends_of_their_types():
    for values in (
        np.array([[1.7e308, -1.7e308], [5e-324, 0.0]]),
        np.array([[2**63, 0], [1, 2**64 - 1]], "u8"),
        np.array([[-(2**63), 2**63 - 1]]),
        np.array([[True, False]]),
        np.full((3, 3), 7.0),
    ):
        measured(drawing.image(values, {"name": "x"}, []))
        measured(drawing.lines("line", [drawing.Line("x", values.size, drawing.of_array(values.ravel()))], drawing.Axis("i")))


def test_pixels_that_do_not_count_are_left_out():
    values = samples.picture(dtype="u4")
    values[5] = 2**32 - 1
    preview = drawing.image(values, {"name": "x"}, [])
    assert (preview.plot["signal"]["max"], preview.plot["values"][5][0]) == (1020.0, None)


def test_noise_and_long_names_still_fit():
    chance = np.random.default_rng(7)
    measured(drawing.image(chance.random((1000, 1000)) * 1e-200, {"name": "x" * 500}, [drawing.Axis("y" * 500)] * 2))
    measured(drawing.lines("line", [drawing.Line("é" * 500, 50_000, drawing.of_array(chance.random(50_000)))] * 4, drawing.Axis("x")))
    measured(drawing.photo(Image.fromarray(chance.integers(0, 255, (900, 900, 3), "u1"))))


@pytest.mark.parametrize("shape", [(1, 5000), (3, 40_000), (4000, 9), (300, 300), (2, 2), (2167, 2070)])
def test_shapes(shape, tmp_path):
    measured(drawing.image(np.arange(np.prod(shape)).reshape(shape), {"name": "x"}, []))
    seen(data(tmp_path / "a", np.arange(np.prod(shape)).reshape(shape)))


@pytest.mark.parametrize("packed", [hdf5plugin.Bitshuffle(), hdf5plugin.Blosc2(), hdf5plugin.LZ4(), hdf5plugin.Zstd(), "lzf", "gzip"])
def test_filters_of_detectors(tmp_path, packed):
    with h5py.File(tmp_path / "a", "w") as file:
        how = dict(packed) if not isinstance(packed, str) else {"compression": packed}
        file.create_dataset("image", data=samples.picture(), chunks=(20, 60), **how)
    np.testing.assert_allclose(seen(tmp_path / "a").plot["values"], samples.picture(), rtol=1e-3)


def test_time_axis_of_netcdf(tmp_path):
    plot = seen(samples.write("netcdf3", tmp_path / "a")).plot
    assert plot["axes"] == [{"name": "time", "time": True}]
    [series] = plot["series"]
    assert (series["x"][:2], series["y"][:2]) == (["2024-02-03T04:00:00Z", "2024-02-03T05:00:00Z"], [200.0, 201.0])
    assert seen(samples.write("netcdf4", tmp_path / "b")).plot == plot


def test_a_preview_that_kills_the_child_costs_itself_only(tmp_path):
    chunk = (20_000, 20_000)  # 3.2 GB unpacked, some kB in the file
    with h5py.File(tmp_path / "a", "w") as file:
        file.create_dataset("bomb", chunk, "f8", chunks=chunk, compression="gzip", fillvalue=1)
        file.attrs["title"] = "whole"
    found = extract(tmp_path / "a", "a")
    assert (found.state, found.title, found.preview) == (MetadataState.OK, "whole", None)
    assert "bytes; no preview" in found.preview_error
