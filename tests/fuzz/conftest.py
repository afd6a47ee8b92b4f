"""How long a fuzzer runs, and from which seed: a few seconds in CI, as long as is asked for with ``make fuzz``."""

import os

import pytest


@pytest.fixture
def seed() -> int:
    """``FUZZ_SEED``: the same seed tries the same inputs in the same order."""
    return int(os.environ.get("FUZZ_SEED", "1"))


@pytest.fixture
def seconds() -> float:
    """``FUZZ_SECONDS``: for each fuzzer."""
    return float(os.environ.get("FUZZ_SECONDS", "3"))
