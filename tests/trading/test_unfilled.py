"""An order says why the market gave it nothing: while it rests, and in front of why it was withdrawn."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.trading.events import RESTING
from bot.trading.unfilled import NOTES, noted, split, withdrawn
from tests.factories import START_MS, a_bar, a_quote, an_order
from tests.trading.test_broker import Desk

LIMIT = {"type": "limit", "limit_price": Decimal(90)}


def bars(*volumes):
    return [a_bar(index, volume=volume) for index, volume in enumerate(volumes)]


@pytest.mark.parametrize(
    ("order", "meets", "said"),
    [
        ({}, bars("0"), "no_volume"),
        ({}, bars("0", "0"), "no_volume"),
        ({}, bars("0.0005"), "thin_volume"),
        ({}, bars("0.4"), "thin_volume"),
        ({}, bars("0.4", "0"), "no_volume"),
        ({}, [a_quote(time_ms=START_MS + 250, size="0.0005")], "thin_quote"),
        ({}, [a_quote(time_ms=START_MS + 250, size="0.4")], "thin_quote"),
        (LIMIT, bars("100"), "limit_not_reached"),
        (LIMIT, [a_quote(time_ms=START_MS + 250)], "limit_not_reached"),
        (
            LIMIT,
            [a_bar(0, close=95, low=80, volume="0.4"), a_bar(1, close=95, low=80, volume="0")],
            "no_volume",
        ),
        ({}, [], "no_quote"),
        ({}, [a_quote(time_ms=START_MS)], "no_quote"),
    ],
)
def test_what_the_market_did_not_give_stands_before_why_the_order_was_withdrawn(order, meets, said):
    desk = Desk()
    (placed,) = desk.place(an_order(**order))
    for market in meets:
        desk.meet(market)
    resting = desk.orders[placed.id]
    assert resting.status in RESTING
    if said != "no_quote":
        assert resting.reason.startswith(f"{said}: ")
    (gone,) = desk.broker.cancel("BTCUSDT", START_MS + 10_000_000, "replaced by a newer decision")
    assert gone.reason.startswith(f"{said}: ")
    assert gone.reason.endswith("; then replaced by a newer decision")


def test_an_order_withdrawn_before_it_was_due_blames_no_market():
    desk = Desk()
    desk.place(an_order())
    (gone,) = desk.broker.cancel("BTCUSDT", START_MS + 250, "halted")
    assert gone.reason == "halted"


def test_a_whole_fill_leaves_no_note_and_keeps_what_was_said_besides():
    desk = Desk()
    (placed,) = desk.place(an_order(reason="halted: everything is sold"))
    desk.bar(a_bar(0, volume="0"))
    assert desk.orders[placed.id].reason.startswith("halted: everything is sold; no_volume: ")
    desk.bar(a_bar(1, volume="0.4"))
    assert desk.orders[placed.id].reason.startswith("halted: everything is sold; thin_volume: ")
    desk.bar(a_bar(2))
    filled = desk.orders[placed.id]
    assert (filled.status, filled.reason) == ("filled", "halted: everything is sold")


def test_an_order_is_told_again_only_when_its_reason_changes():
    desk = Desk()
    desk.place(an_order())
    told = [desk.broker.match_bar(bar, desk.ledger).orders for bar in bars("0", "0", "0", "0.0005")]
    assert [len(orders) for orders in told] == [1, 0, 0, 1]


ORIGINS = st.sampled_from(["", "halted: everything is sold", "closed by hand"])


@given(ORIGINS, st.sampled_from(NOTES), st.sampled_from(NOTES))
def test_a_note_takes_the_place_of_the_one_before_and_can_be_taken_off_again(origin, first, second):
    order = noted(noted(an_order(reason=origin), first), second)
    assert split(order.reason) == (origin, second)
    assert noted(order, "").reason == origin
    assert noted(order, second) is order
    assert withdrawn(order, "why", START_MS).reason == f"{second}; then why"
