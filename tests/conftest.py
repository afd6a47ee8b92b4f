"""What holds for every test."""

from collections.abc import Iterator

import pytest
import structlog


@pytest.fixture(autouse=True)
def _own_logging() -> Iterator[None]:
    """A command run in one test leaves logging bound to that test's captured output, closed by the next."""
    yield
    structlog.reset_defaults()
