"""`import neve` is light: what it costs is what it pulls in, which does not depend on the machine's speed."""

import subprocess
import sys

HEAVY = [
    "httpx",
    "numpy",
    "xarray",
    "intake",
    "boto3",
    "botocore",
    "s3fs",
    "fsspec",
    "h5py",
    "ipywidgets",
    "anywidget",
    "rich",
    "typer",
    "jupyterhub",
    "archiver",
    "asyncio",
]


def run(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60).stdout.split()


def test_nothing_heavy_is_imported():
    assert run(f"import sys, neve; print(*[name for name in {HEAVY} if name in sys.modules])") == []


def test_only_standard_library_and_itself():
    code = "import sys; before = set(sys.modules); import neve; print(*sorted({name.split('.')[0] for name in set(sys.modules) - before}))"
    ours = run(code)
    assert "neve" in ours
    assert [name for name in ours if name != "neve" and name not in sys.stdlib_module_names] == []


def test_every_public_name_is_there():
    import neve

    assert sorted(neve._HOME_OF) == sorted(neve.__all__)
    for name in neve.__all__:
        assert getattr(neve, name) is not None
    # a second look gives the same: no submodule has taken a function's name
    assert callable(neve.catalog)
    assert callable(neve.restore)
    assert callable(neve.restore_button)
    assert callable(neve.credentials)


def test_errors_and_client_need_no_arrays():
    heavier = [name for name in HEAVY if name not in {"httpx", "asyncio", "rich"}]
    assert run(f"import sys, neve; neve.ColdDataError, neve.Client; print(*[name for name in {heavier} if name in sys.modules])") == []


def test_unknown_name():
    import neve

    try:
        neve.catalogue  # noqa: B018
    except AttributeError as error:
        assert "catalogue" in str(error)
    else:
        raise AssertionError
