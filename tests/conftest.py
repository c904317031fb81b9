"""Fixtures that every test file may use."""

from __future__ import annotations

from pathlib import Path

import pytest

SHARED_DATA = Path(__file__).parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real ECGs in the layout of the public databases. They stand beside the checkout of developers, not in it."""
    if not SHARED_DATA.is_dir():
        pytest.skip("the folder of real ECGs (../shared/data) is not here")
    return SHARED_DATA
