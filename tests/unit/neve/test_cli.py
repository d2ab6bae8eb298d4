"""`neve …` as a process: exit codes, one sentence on stderr, JSON."""

import json
import os
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import pytest

NEVE = Path(sys.executable).with_name("neve")


@pytest.fixture
def lab(as_notebook):
    as_notebook.add("xas/scan7", {"scan.h5": (b"x" * 1000, "nexus")}, ["deep"])
    return as_notebook


def neve(*arguments, **env):
    return subprocess.run(
        [NEVE, *arguments], capture_output=True, text=True, timeout=60, env={**os.environ, **env}, stdin=subprocess.DEVNULL, check=False
    )


def test_credentials_as_aws_expects_them(lab):
    done = neve("credentials", "p1")
    assert (done.returncode, done.stderr) == (0, "")
    answer = json.loads(done.stdout)
    assert set(answer) == {"Version", "AccessKeyId", "SecretAccessKey", "SessionToken", "Expiration"}
    assert answer["Version"] == 1
    assert datetime.fromisoformat(answer["Expiration"]).tzinfo is not None


def test_configure(lab):
    done = neve("credentials", "--configure")
    assert done.returncode == 0
    assert "1 project (p1)" in done.stdout
    answer = json.loads(neve("credentials", "--configure", "--json").stdout)
    assert answer == {"path": f"{os.environ['HOME']}/.aws/config", "profiles": ["p1"], "kept": []}


def test_status(lab):
    lab.start_restore(1)
    text = neve("status").stdout
    assert "alice at http" in text
    assert "1 dataset in 1 project (p1)" in text
    assert "xas/scan7: asked for" in text
    answer = json.loads(neve("status", "--json").stdout)
    assert answer["restores"][0]["dataset"] == "xas/scan7"


def test_status_of_a_dataset(lab):
    text = neve("status", "scan7").stdout
    assert "deep archive; copies: deep" in text
    assert "after it was brought back (within 3 days)" in text
    answer = json.loads(neve("status", "scan7", "--json").stdout)
    assert (answer["full_name"], answer["tier"], answer["received_at"][-1]) == ("xas/scan7", "deep", "Z")


@pytest.mark.parametrize(
    ("arguments", "env", "code", "sentence"),
    [
        (["status", "scan8"], {}, 1, "Did you mean xas/scan7?"),
        (["credentials"], {}, 2, "Say a project, or --configure."),
        (["credentials", "p1", "--configure"], {}, 2, "Say a project, or --configure."),
        (["status"], {"NEVE_API_URL": ""}, 2, "Nobody said where the archiver is"),
        (["status"], {"JUPYTERHUB_API_TOKEN": "wrong"}, 1, "It is not-signed-in."),
        (["status"], {"NEVE_API_URL": "http://127.0.0.1:1/x"}, 1, "cannot be reached"),
        (["frobnicate"], {}, 2, "No such command"),
        (["status", "--frobnicate"], {}, 2, "No such option"),
    ],
)
def test_errors(lab, arguments, env, code, sentence):
    done = neve(*arguments, **env)
    assert done.returncode == code
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_a_refusal_for_one_project(lab):
    lab.fail += [(403, "application/problem+json", b'{"code": "not-allowed", "detail": "You are not in p9.", "next_step": "Ask its members."}')]
    done = neve("credentials", "p9")
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "neve: You are not in p9. Ask its members.\n")
