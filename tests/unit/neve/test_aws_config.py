"""The profiles in ~/.aws/config: complete, idempotent, and careful with what a person wrote there."""

import stat

import pytest
from neve.aws_config import BEGIN, END, config_path, configure
from neve.client import connect
from neve.errors import NeveError

OWN = "[default]\nregion = eu-north-1\n\n[profile mine]\naws_access_key_id = X\n# a comment\n"


@pytest.fixture
def api(as_notebook):
    as_notebook.project_names = ["saxs-2026", "xas-2025"]
    as_notebook.endpoint_url = "http://127.0.0.1:9999"
    return as_notebook


def test_new_file(api):
    written = configure(connect())
    assert written.profiles == ("saxs-2026", "xas-2025")
    assert stat.S_IMODE(written.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(written.path.parent.stat().st_mode) == 0o700
    assert [path.name for path in written.path.parent.iterdir()] == ["config"]
    text = written.path.read_text()
    assert "secret" not in text
    assert "AKIA" not in text


def test_team_notebooks_have_profiles_of_their_own(api):
    import botocore.session

    api.team_notebooks = True
    assert configure(connect()).profiles == ("saxs-2026", "xas-2025", "neve-team-saxs-2026", "neve-team-xas-2025")
    session = botocore.session.Session(profile="neve-team-xas-2025")
    assert session.get_scoped_config()["credential_process"].endswith(" credentials xas-2025 --team")
    assert session.get_credentials().get_frozen_credentials().access_key == "AKIA"
    assert api.keys_asked[-1] == {"project": "xas-2025", "for": "team"}


def test_botocore_understands_it(api):
    import botocore.session

    configure(connect())
    session = botocore.session.Session(profile="xas-2025")
    scoped = session.get_scoped_config()
    assert scoped["endpoint_url"] == "http://127.0.0.1:9999"
    assert scoped["region"] == "eu-west-3"
    assert scoped["s3"] == {"addressing_style": "path"}
    assert (scoped["request_checksum_calculation"], scoped["response_checksum_validation"]) == ("when_required", "when_required")
    # The command is really run: it asks the API.
    keys = session.get_credentials().get_frozen_credentials()
    assert (keys.access_key, keys.secret_key, keys.token) == ("AKIA", "secret-key", "session-token")


def test_again_changes_nothing(api):
    path = configure(connect()).path
    before, inode = path.read_bytes(), path.stat().st_ino
    path.chmod(0o644)
    configure(connect())
    assert (path.read_bytes(), path.stat().st_ino) == (before, inode)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("own", [OWN, OWN.rstrip("\n"), ""])
def test_what_a_person_wrote_stays(api, own):
    path = config_path()
    path.parent.mkdir()
    path.write_text(own)
    configure(connect())
    text = path.read_text()
    assert text.startswith(own)
    path.write_text(f"{text}[profile after]\nregion = x\n")
    api.project_names = ["xas-2025"]
    configure(connect())
    text = path.read_text()
    assert text.startswith(own)
    assert "[profile after]" in text
    assert "saxs-2026" not in text
    assert text.count(BEGIN) == text.count(END) == 1


@pytest.mark.parametrize("section", ["[profile xas-2025]", '[profile "xas-2025"]', "[profile 'xas-2025']"])
def test_a_persons_profile_of_the_same_name_wins(api, section):
    import botocore.session

    path = config_path()
    path.parent.mkdir()
    path.write_text(f"{section}\nregion = mars\n")
    written = configure(connect())
    assert (written.profiles, written.kept) == (("saxs-2026",), ("xas-2025",))
    assert botocore.session.Session(profile="xas-2025").get_scoped_config()["region"] == "mars"


def test_no_projects(api):
    api.project_names = []
    assert configure(connect()).profiles == ()
    assert not config_path().exists()


def test_a_link_stays_a_link(api, tmp_path):
    real = tmp_path / "elsewhere"
    real.write_text(OWN)
    path = config_path()
    path.parent.mkdir()
    path.symlink_to(real)
    configure(connect())
    assert path.is_symlink()
    assert "saxs-2026" in real.read_text()


def test_names_that_are_no_profiles(api):
    api.project_names = ["good", "bad]\n[profile evil", "two words"]
    assert configure(connect()).profiles == ("good",)
    assert "evil" not in config_path().read_text()


def test_lost_end_mark(api):
    path = configure(connect()).path
    damaged = path.read_text().replace(END, "")
    path.write_text(damaged)
    with pytest.raises(NeveError, match="first mark but not its last"):
        configure(connect())
    assert path.read_text() == damaged


@pytest.mark.parametrize("make", ["folder", "bytes", "no folder"])
def test_what_cannot_be_read_or_written(api, make):
    path = config_path()
    if make == "no folder":
        path.parent.write_text("a file where the folder should be")
    else:
        path.parent.mkdir()
        path.mkdir() if make == "folder" else path.write_bytes(b"\xff\xfe")
    with pytest.raises(NeveError, match=r"cannot be (read|written)") as caught:
        configure(connect())
    assert "neve credentials --configure" in caught.value.next_step
