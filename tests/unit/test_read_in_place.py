"""A tier that is not to be read in place is neither told as readable nor opened to notebooks' keys."""

from __future__ import annotations

import pytest

from archiver import credentials, describe
from archiver.config import Settings


@pytest.mark.parametrize(("in_place", "readable", "buckets"), [(True, "in_place", {"hot", "archive"}), (False, "after_restore", {"hot"})])
def test_reading_in_place_is_a_setting(in_place: bool, readable: str, buckets: set[str]):
    archive = Settings().tiers["archive"].model_copy(update={"read_in_place": in_place})
    settings = Settings(tiers={**Settings().tiers, "archive": archive})
    assert describe._readable("archive", ["archive", "deep"], settings) == readable
    assert describe._readable("hot", ["hot", "archive", "deep"], settings) == "now"
    assert set(credentials._near_buckets(settings)) == buckets
