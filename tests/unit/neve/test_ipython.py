"""What a notebook shows by itself: a card for cold data, and cells that run when their data is back."""

import asyncio
import threading
from datetime import UTC, datetime

import neve
import pytest
from fixtures.processes import wait_until
from IPython.testing.globalipapp import start_ipython
from neve import ipython, progress
from neve.errors import NotFound, RestoreFailed, WrongUse


@pytest.fixture
def lab(as_notebook):
    as_notebook.add("xas/scan7", {"scan.h5": (b"x" * 1000, "nexus")}, ["deep"])
    as_notebook.add("saxs/run1", {"scan.h5": (b"x" * 1000, "nexus")}, ["hot"])
    return as_notebook


@pytest.fixture(scope="module")
def shell():
    found = start_ipython()
    ipython.register()
    return found


def test_the_cell_runs_when_its_data_is_back(lab, shell):
    shell.run_cell_magic("neve_when_ready", "scan7 saxs/run1", "import neve\nseen = neve.catalog()['scan7'].info.tier")
    assert shell.user_ns["seen"] == "hot"
    assert len(lab.restores) == 1


def test_what_goes_wrong_in_the_cell_is_its_own_and_told_once(lab, shell, capsys):
    with pytest.raises(ZeroDivisionError):
        shell.run_cell_magic("neve_when_ready", "saxs/run1", "1 / 0")
    capsys.readouterr()
    result = shell.run_cell("%%neve_when_ready saxs/run1\n1 / 0")
    assert isinstance(result.error_in_exec, ZeroDivisionError)
    assert capsys.readouterr().out.count("division by zero") == 1


def test_the_cell_does_not_run_without_its_data(lab, shell):
    lab.script = ["queued", "failed"]
    shell.user_ns["seen"] = None
    with pytest.raises(RestoreFailed, match="no drive was free"):
        shell.run_cell_magic("neve_when_ready", "scan7", "seen = 1")
    assert shell.user_ns["seen"] is None
    with pytest.raises(NotFound, match="Did you mean"):
        shell.run_cell_magic("neve_when_ready", "xas/scan8", "1")
    with pytest.raises(WrongUse, match="No dataset is named"):
        shell.run_cell_magic("neve_when_ready", "", "1")


def test_registered_once(shell):
    ipython.register()
    ipython.load_ipython_extension(shell)
    assert shell.magics_manager.magics["cell"]["neve_when_ready"] is not None


def test_cold_data_is_a_card(lab, shell, monkeypatch):
    monkeypatch.setattr(progress, "in_notebook", lambda: True)
    shown = []
    monkeypatch.setattr("IPython.display.display", shown.append)
    with pytest.raises(neve.ColdDataError) as caught:
        neve.catalog()["scan7"].read()
    lines = caught.value._render_traceback_()
    assert lines == [f"ColdDataError: {caught.value}"]
    assert [(card.name, card.button_text) for card in shown] == [("xas/scan7", "Bring it back")]
    shown[0].close()


def test_on_a_terminal_cold_data_is_a_sentence(lab, shell):
    with pytest.raises(neve.ColdDataError) as caught:
        neve.catalog()["scan7"].read()
    assert caught.value._render_traceback_() == [f"ColdDataError: {caught.value}"]


def test_awaited(lab):
    others = []

    async def kernel():
        async def others_go_on():
            while True:
                others.append(1)
                await asyncio.sleep(0.01)

        going = asyncio.create_task(others_go_on())
        handle = await neve.restore("scan7")
        going.cancel()
        return handle

    assert asyncio.run(kernel()).status == "ready"
    assert len(others) > 10
    lab.script = ["queued", "failed"]
    lab.add("xas/scan8", {"scan.h5": (b"x", "nexus")}, ["deep"])

    async def fails():
        await neve.restore("scan8")

    with pytest.raises(RestoreFailed, match="no drive was free"):
        asyncio.run(fails())


def test_a_function_for_when_it_is_back(lab, capfd):
    called, there = [], threading.Event()
    handle = neve.restore("scan7").when_ready(lambda back: (called.append(back.status), there.set()))
    assert there.wait(30)
    assert (called, handle.dataset) == (["ready"], "xas/scan7")
    lab.script = ["queued", "denied"]
    lab.add("xas/scan8", {"scan.h5": (b"x", "nexus")}, ["deep"])
    neve.restore("scan8").when_ready(called.append)
    said: list[str] = []
    wait_until(lambda: said.append(capfd.readouterr().err) or "An admin denied the restore of xas/scan8" in "".join(said), 30, "why it is not called")
    assert called == ["ready"]


def test_eta(lab, monkeypatch):
    handle = neve.restore("scan7")
    assert handle.eta == handle.promised_by
    lab.script = ["copying"]
    lab.scripts[1] = ["copying"]
    handle.refresh()
    assert handle.eta == handle.promised_by  # of bytes that were all there at the first look no rate is known
    lab.restores[1]["bytes_ready"] = 750
    handle._copying = (handle._asked_at - 10, 500)
    handle.refresh()
    left_s = (handle.eta - datetime.now(UTC)).total_seconds()
    assert left_s == pytest.approx(10, abs=2)
    lab.scripts[1] = ["ready"]
    handle.refresh()
    assert handle.eta is None
