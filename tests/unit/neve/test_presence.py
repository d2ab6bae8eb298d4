"""What keeps a notebook server though nobody clicks. That it keeps one, and that nothing else does, tests/hub/test_idle.py shows."""

from __future__ import annotations

from neve.presence import computing, waiting


def test_a_kernel_computes():
    assert computing([]) is None
    assert computing([{"execution_state": "idle"}, {"execution_state": "starting"}]) is None
    assert computing([{"execution_state": "idle"}, {"execution_state": "busy"}]) == "1 of 2 kernels computes"


def test_without_an_archiver_nothing_is_waited_for(monkeypatch):
    monkeypatch.delenv("NEVE_API_URL", raising=False)
    assert waiting() is None


def test_while_the_archiver_is_away_nobodys_server_may_be_stopped(monkeypatch):
    monkeypatch.setenv("NEVE_API_URL", "http://127.0.0.1:1/services/archiver")
    monkeypatch.setenv("JUPYTERHUB_API_TOKEN", "t")
    assert "cannot be reached" in str(waiting())
