"""A small archiver and store for the senders' tests: one real HTTP server that speaks the protocol of reception and keeps every byte it is given.

| fixture     | what it gives                                                                                                       |
|-------------|---------------------------------------------------------------------------------------------------------------------|
| `archiver`  | the server: `files` by (dataset, name), `bytes_in`, `asked` requests, `faults` that make requests fail               |
| `reception` | a Reception of it with the instrument's key, whose waits are short                                                  |
| `journal`   | a Journal in a temp folder                                                                                          |
| `faults`    | what can go wrong: `Times(count, match, do)`, `cut`, `status(503)`, `lose(archiver)`                                   |
| `folder`    | an empty folder for sources                                                                                         |
| `inbox`     | an empty folder that is watched                                                                                     |
| `watching`  | makes an agent over `inbox`, whose time is the test's                                                               |
"""

from __future__ import annotations

import types

import pytest
from fixtures.small_archiver import KEY, Archiver, Times, cut, lose, status, to_archiver, to_store


@pytest.fixture
def faults():
    return types.SimpleNamespace(Times=Times, cut=cut, status=status, lose=lose, to_store=to_store, to_archiver=to_archiver)


@pytest.fixture
def archiver():
    server = Archiver()
    yield server
    server.stop()
    assert server.leaked == [], "the key went to the store"
    assert server.wrong_packs == []


@pytest.fixture
def reception(archiver):
    from neve.send.patience import Patience
    from neve.send.reception import Reception

    connected = Reception(archiver.url, KEY, Patience(longest_s=0.3))
    yield connected
    connected.close()


@pytest.fixture
def journal(tmp_path, archiver):
    from neve.send.journal import Journal

    noted = Journal(tmp_path / "state" / "sent.sqlite3", archiver.url)
    yield noted
    noted.close()


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "run42"
    path.mkdir()
    return path


@pytest.fixture
def inbox(tmp_path):
    path = tmp_path / "inbox"
    path.mkdir()
    return path


@pytest.fixture
def watching(inbox, tmp_path, reception, journal):
    from fixtures.watching import Watching

    made = []

    def start(**settings):
        made.append(Watching(inbox, tmp_path / "state", reception, journal, **settings))
        return made[-1]

    yield start
    for one in made:
        one.close()
