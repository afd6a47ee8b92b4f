"""A recording of an older bot is read by this one, and leads to the same money."""

from decimal import Decimal
from pathlib import Path

import pytest

from bot.testing import ReplayedSession, replay

FORMAT_1 = Path(__file__).parent / "recordings" / "format1.rec.zst"
"""A demo by moving averages that its recorder closed after 80 bars a symbol, with four fills and six payments."""


@pytest.fixture(scope="module")
def session() -> ReplayedSession:
    return replay(FORMAT_1)


def test_it_replays_to_its_last_bar(session):
    assert len(session.bars) == len(session.signals) == 160


def test_its_fills_are_those_that_were_booked(session):
    assert [
        (
            fill.symbol,
            fill.side,
            str(fill.quantity),
            str(fill.price),
            fill.fee,
            fill.realized_pnl,
            fill.time_ms,
        )
        for fill in session.fills
    ] == [
        ("BTCUSDT", "sell", "0.067", "58970.1", Decimal("2.173048185"), 0, 1704176101800),
        ("ETHUSDT", "sell", "1.36", "2939.54", Decimal("2.19877592"), 0, 1704176101800),
        ("ETHUSDT", "buy", "2.69", "2995.15", Decimal("4.431324425"), Decimal("-75.6296"), 1704193201800),
        ("BTCUSDT", "buy", "0.134", "59149.8", Decimal("4.35934026"), Decimal("-12.0399"), 1704220201800),
    ]


def test_its_account_ends_where_it_ended(session):
    assert len(session.funding) == 6
    last = session.equity[-1]
    assert (last.cash, last.equity) == (Decimal("9898.9502926905"), Decimal("9866.9394926905"))
