"""NeXus and netCDF as facilities write them → xarray."""

import io
from pathlib import Path

import numpy as np
import pytest
from neve import netcdf, nexus
from neve.errors import UnreadableData

SHARED = Path(__file__).parents[4] / "shared" / "data"


@pytest.fixture
def h5(tmp_path):
    import h5py

    def build(function):
        path = tmp_path / "file.h5"
        with h5py.File(path, "w") as file:
            function(file)
        return path

    return build


def group(file, name="entry/data", **attrs):
    made = file.create_group(name)
    made.attrs.update(NX_class="NXdata", **attrs)
    return made


def test_stack_with_axes_and_units(h5):
    def build(file):
        data = group(file, signal="counts", axes=["frame", "y", "x"], auxiliary_signals=["flat"])
        data["counts"] = np.arange(24).reshape(2, 3, 4)
        data["counts"].attrs["units"] = b"counts"
        data["flat"] = np.ones((2, 3, 4))
        data["counts_errors"] = np.sqrt(np.arange(24.0)).reshape(2, 3, 4)
        data["x"] = np.arange(4.0)
        data["x"].attrs["units"] = "mm"
        data["note"] = "text"

    data = nexus.read(h5(build))
    assert data.attrs["signal"] == "counts"
    assert data["counts"].dims == ("frame", "y", "x")
    assert data["counts"].attrs["units"] == "counts"
    assert data["x"].attrs["units"] == "mm"
    assert set(data.data_vars) == {"counts", "flat", "counts_errors"}
    assert int(data["counts"].sel(x=3.0).max()) == 23


def test_errors_of_axes_and_of_signals_beside(h5):
    def build(file):
        data = group(file, signal="i", axes=["q"], auxiliary_signals=["j"])
        for name in ("i", "j", "i_errors", "j_errors", "q", "q_errors"):
            data[name] = np.full(3, len(name) + ord(name[0]))
        data["short_errors"] = [1.0]

    data = nexus.read(h5(build))
    assert set(data.data_vars) == {"i", "j", "i_errors", "j_errors"}
    assert set(data.coords) == {"q", "q_errors"}
    assert data["q_errors"].dims == ("q",)
    assert data["j_errors"].to_numpy().tolist() == [8 + ord("j")] * 3


def test_default_leads_past_other_groups(h5):
    def build(file):
        file.attrs["default"] = "second"
        for entry, name in (("first", "a"), ("second", "b")):
            made = file.create_group(entry)
            made.attrs["NX_class"] = "NXentry"
            other = group(file, f"{entry}/other", signal="v")
            other["v"] = [0.0]
            data = group(file, f"{entry}/{name}", signal="v")
            data["v"] = [1.0, 2.0]
        file["second"].attrs["default"] = "b"
        file["second"]["title"] = "A title"

    data = nexus.read(h5(build))
    assert data.attrs["nexus_path"] == "/second/b"
    assert data.attrs["title"] == "A title"


def test_old_style_signal_and_axes(h5):
    def build(file):
        data = group(file)
        data["other"] = np.zeros(100)
        data["counts"] = np.zeros((2, 3))
        data["counts"].attrs.update(signal=1, axes="angle:channel")
        data["angle"] = [10.0, 20.0]

    data = nexus.read(h5(build))
    assert data["counts"].dims == ("angle", "channel")
    assert list(data["angle"].values) == [10, 20]


def test_axes_by_number(h5):
    def build(file):
        data = group(file)
        data["counts"] = np.zeros((2, 3))
        data["counts"].attrs["signal"] = np.int32([1])
        data["energy"] = [1.0, 2.0, 3.0]
        data["energy"].attrs["axis"] = 2

    assert nexus.read(h5(build))["counts"].dims == ("dim_0", "energy")


def test_two_dimensional_positions_are_coordinates(h5):
    def build(file):
        data = group(file, signal="i", axes=["row", "."], xpos_indices=[0, 1])
        data["i"] = np.zeros((2, 3))
        data["row"] = [5, 6]
        data["xpos"] = np.arange(6.0).reshape(2, 3)

    data = nexus.read(h5(build))
    assert data["i"].dims == ("row", "dim_1")
    assert data["xpos"].dims == ("row", "dim_1")


@pytest.mark.parametrize("axes", [["edges"], ["edges", "x", "x", "extra"], ["i"], ["missing"], [""]])
def test_axes_that_do_not_fit_are_left_out(h5, axes):
    def build(file):
        data = group(file, signal="i", axes=axes)
        data["i"] = np.zeros((3, 4))
        data["edges"] = np.arange(4.0)  # bin edges: one more than values

    assert nexus.read(h5(build))["i"].shape == (3, 4)


def test_scalar_and_empty_signals(h5):
    import h5py

    def build(file):
        group(file, "a/scalar", signal="v")["v"] = 3.5
        empty = group(file, "b/empty", signal="v")
        empty["v"] = h5py.Empty("f4")

    assert float(nexus.read(h5(build))["v"]) == 3.5


def test_loops_of_links_end(h5):
    import h5py

    def build(file):
        file["loop"] = h5py.SoftLink("/")
        file.attrs["default"] = "loop"

    with pytest.raises(UnreadableData, match="no group of class NXdata"):
        nexus.read(h5(build))


def test_data_in_another_file_that_is_missing(h5):
    import h5py

    def build(file):
        data = group(file, signal="v")
        data["v"] = h5py.ExternalLink("gone.h5", "/v")

    with pytest.raises(UnreadableData, match="another file"):
        nexus.read(h5(build))


def test_compressed_by_a_detectors_filter(h5):
    import hdf5plugin

    def build(file):
        data = group(file, signal="v")
        data.create_dataset("v", data=np.arange(1000), **hdf5plugin.Bitshuffle())

    assert int(nexus.read(h5(build))["v"].sum()) == 499500


def test_from_memory(h5):
    def build(file):
        group(file, signal="v")["v"] = [1, 2]

    assert nexus.read(io.BytesIO(h5(build).read_bytes()))["v"].shape == (2,)


@pytest.mark.skipif(not SHARED.is_dir(), reason="the collection of facilities' files is not here")
@pytest.mark.parametrize(
    ("name", "signal", "dims", "units"),
    [
        ("SLS/Sample_Stack_2021-03-16_128.hdf5", "data", ("energy", "sample_y", "sample_x"), {"energy": "eV", "sample_x": "μm"}),
        ("SLS/Sample_Image_2021-03-16_095.hdf5", "data", ("sample_y", "sample_x"), {"sample_y": "μm"}),
        ("APS/AgBehenate_228.hdf5", "data", ("dim_0", "dim_1"), {}),
        ("code/NXtest.h5", "comp_data", ("dim_0", "dim_1"), {}),
    ],
)
def test_facilities_files(name, signal, dims, units):
    data = nexus.read(SHARED / "nexus" / name)
    assert data.attrs["signal"] == signal
    assert data[signal].dims == dims
    assert {key: data[key].attrs["units"] for key in units} == units


@pytest.mark.skipif(not SHARED.is_dir(), reason="the collection of facilities' files is not here")
@pytest.mark.parametrize("name", ["DLS/p45-1168.nxs", "DLS/thaumatin_integrated.nxs", "nxpdb/4n8z.h5"])
def test_facilities_files_without_a_plot(name):
    with pytest.raises(UnreadableData) as caught:
        nexus.read(SHARED / "nexus" / name)
    assert caught.value.next_step


@pytest.mark.skipif(not SHARED.is_dir(), reason="the collection of facilities' files is not here")
@pytest.mark.filterwarnings("ignore:variable .* has non-conforming")  # what xarray says of eraint_uvz.nc, rightly
@pytest.mark.parametrize("name", ["tiny.nc", "eraint_uvz.nc"])
@pytest.mark.parametrize("in_memory", [False, True])
def test_facilities_netcdf(name, in_memory):
    path = SHARED / "netcdf" / name
    version = 4 if path.read_bytes()[1:4] == b"HDF" else 3
    data = netcdf.read(io.BytesIO(path.read_bytes()) if in_memory else path, version)
    assert data.data_vars
