"""Every decision that asked for something ends in exactly one outcome, stated with what stopped it."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.performance.decisions import KINDS, outcome_of
from bot.trading.events import RESTING
from bot.trading.unfilled import LIMIT_NOT_REACHED, NO_VOLUME, THIN_VOLUME
from tests.factories import an_order


def order(status, filled="0", reason="", **fields):
    return an_order(id=1, status=status, filled_quantity=Decimal(filled), reason=reason, **fields)


@pytest.mark.parametrize(
    ("no_order", "orders", "kind", "cause", "words"),
    [
        ("", [order("filled", "1")], "filled", "", "filled"),
        ("", [order("filled", "1", "shortened: to 1 of 2")], "filled", "", "filled; shortened: to 1 of 2"),
        ("", [order("open", reason=NO_VOLUME)], "open", "no_volume", NO_VOLUME),
        ("", [order("open")], "open", "not_met", "not_met: no quote or bar has come for it yet"),
        (
            "",
            [order("partially_filled", "0.4", THIN_VOLUME)],
            "partly_filled",
            "thin_volume",
            f"0.4 of 1, the rest open: {THIN_VOLUME}",
        ),
        (
            "",
            [order("rejected", "0.4", "insufficient_margin: too little")],
            "partly_filled",
            "insufficient_margin",
            "0.4 of 1, the rest rejected: insufficient_margin: too little",
        ),
        (
            "",
            [order("rejected", reason="max_total: too much")],
            "rejected",
            "max_total",
            "max_total: too much",
        ),
        (
            "",
            [order("rejected", reason="halted: halted since then")],
            "halted",
            "halted",
            "halted: halted since then",
        ),
        ("", [order("rejected", reason="paused: by hand")], "paused", "paused", "paused: by hand"),
        (
            "",
            [order("cancelled", reason=f"{NO_VOLUME}; then replaced by a newer decision")],
            "unfilled",
            "no_volume",
            f"{NO_VOLUME}; then replaced by a newer decision",
        ),
        (
            "",
            [order("cancelled", reason=f"{LIMIT_NOT_REACHED}; then halted")],
            "unfilled",
            "limit_not_reached",
            f"{LIMIT_NOT_REACHED}; then halted",
        ),
        (
            "",
            [order("cancelled", reason="replaced by a newer decision")],
            "unfilled",
            "replaced_by_a_newer_decision",
            "replaced by a newer decision",
        ),
        (
            "",
            [order("cancelled", reason=f"{LIMIT_NOT_REACHED}; then expired: valid for 3 bars")],
            "expired",
            "limit_not_reached",
            f"{LIMIT_NOT_REACHED}; then expired: valid for 3 bars",
        ),
        (
            "",
            [order("cancelled", "0.4", reason=f"{THIN_VOLUME}; then expired: valid for 1 bar")],
            "partly_filled",
            "thin_volume",
            f"0.4 of 1, the rest expired unfilled: {THIN_VOLUME}; then expired: valid for 1 bar",
        ),
        (
            "already_ordered: order 3 rests",
            [],
            "already_there",
            "already_ordered",
            "already_ordered: order 3 rests",
        ),
        ("already_short: 0.5 is held", [], "already_there", "already_short", "already_short: 0.5 is held"),
        (
            "already_flat: there is nothing",
            [],
            "already_there",
            "already_flat",
            "already_flat: there is nothing",
        ),
        # The order that a halt closes with is none of the decision's own.
        ("halted: since then", [order("filled", "1")], "halted", "halted", "halted: since then"),
    ],
)
def test_the_outcome_names_what_stopped_a_decision(no_order, orders, kind, cause, words):
    found = outcome_of("long", no_order, orders)
    assert (found.kind, found.cause, found.words) == (kind, cause, words)


def test_what_a_reversal_closed_counts_as_a_part_where_its_entry_was_rejected():
    closed = order("filled", "1")
    entry = an_order(id=2, status="rejected", reason="max_position: too much")
    found = outcome_of("short", "", [closed, entry])
    assert (found.kind, found.cause, found.filled, found.quantity) == ("partly_filled", "max_position", 1, 2)


def test_the_stops_of_an_entry_are_no_part_of_what_was_asked_for():
    stop = an_order(id=2, status="cancelled", parent_id=1, reason="order 1, its entry, opened nothing")
    assert outcome_of("long", "", [order("filled", "1"), stop]).kind == "filled"


def test_of_an_older_database_nothing_is_made_up():
    assert outcome_of("long", "", []).kind == "not_stated"


_STATES = [
    *((status, filled) for status in RESTING for filled in ("0", "0.4")),
    *(("filled", "1"), ("rejected", "0"), ("rejected", "0.4"), ("cancelled", "0"), ("cancelled", "0.4")),
]


@given(
    st.sampled_from(["long", "short", "close"]),
    st.sampled_from(["", "already_long: so", "already_flat: so", "halted: since", "paused: by hand"]),
    st.lists(st.sampled_from(_STATES), max_size=3),
)
def test_every_history_of_orders_has_one_outcome_that_agrees_with_its_quantities(asked, no_order, states):
    orders = [
        an_order(
            id=id,
            status=status,
            filled_quantity=Decimal(filled),
            reason="" if status == "filled" else "why: so",
        )
        for id, (status, filled) in enumerate(states, 1)
    ]
    found = outcome_of(asked, no_order, orders)
    assert found.kind in KINDS
    assert found.words
    if no_order or not orders:
        assert not found.ordered
        return
    filled = sum(order.filled_quantity for order in orders)
    assert (found.filled, found.quantity) == (filled, len(orders))
    assert (found.kind == "filled") == (filled == len(orders))
    assert (found.kind == "partly_filled") == (0 < filled < len(orders))
    assert (found.kind == "filled") == (not found.cause)
