"""The log tells its times in UTC, and says so."""

import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest

SAY = """
import structlog
from bot import logs
from bot.config import LogConfig
logs.configure(LogConfig(format={format!r}))
log = structlog.get_logger()
log.info("connected")
log.info("bar_decided", close_ms=1_700_007_300_000, symbol="BTCUSDT", close="100", action="hold", confidence=0.5,
         expected_return=None, equity="10000.00", reason="so", late=False, signal=1)
"""


def said(format: str, zone: str) -> list[str]:
    run = subprocess.run(
        [sys.executable, "-c", SAY.format(format=format)],
        env={**os.environ, "TZ": zone},
        capture_output=True,
        text=True,
        check=True,
    )
    return run.stderr.splitlines()


@pytest.mark.parametrize("zone", ["UTC", "Asia/Kathmandu", "America/St_Johns"])
def test_the_console_says_once_that_its_times_are_utc_whatever_zone_the_machine_is_in(zone):
    first, connected, decided = said("console", zone)
    assert first == "all times are UTC, and a bar's is that of its close"
    now = datetime.now(UTC)
    stamps = {(now - timedelta(seconds=back)).strftime("%H:%M:%S") for back in range(60)}
    assert connected.split()[0] in stamps
    assert decided.startswith("2023-11-15 00:15  BTCUSDT")


def test_machines_read_the_zone_in_every_line():
    for line in said("json", "Asia/Kathmandu"):
        assert 'Z"' in line
