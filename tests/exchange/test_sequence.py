from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from bot.exchange.sequence import BarSequence, CloseOrder
from bot.market import Bar

MINUTE = 60_000


def bar(minute: int, symbol: str = "BTCUSDT", close: str = "100") -> Bar:
    price = Decimal(close)
    return Bar(
        symbol=symbol, interval="1", start_ms=minute * MINUTE,
        open=price, high=price, low=price, close=price, volume=Decimal(1),
    )  # fmt: skip


def starts(bars: list[Bar]) -> list[int]:
    return [each.start_ms // MINUTE for each in bars]


def released(sequence: BarSequence) -> list[Bar]:
    bars = []
    while sequence.head is not None:
        bars.append(sequence.take())
    return bars


def sequence_after(minute: int | None) -> BarSequence:
    return BarSequence("BTCUSDT", "1", None if minute is None else minute * MINUTE)


def test_a_bar_that_follows_is_released_at_once_and_is_not_late():
    sequence = sequence_after(9)
    assert sequence.offer(bar(10)) == "new"
    assert released(sequence) == [bar(10)]


def test_a_hole_holds_back_what_came_behind_it_and_is_named():
    sequence = sequence_after(9)
    sequence.offer(bar(12))
    assert released(sequence) == []
    assert sequence.missing() == (10 * MINUTE, 11 * MINUTE)


def test_bars_filled_in_behind_a_newer_one_are_late_and_the_newest_is_not():
    sequence = sequence_after(9)
    for minute in (12, 10, 11):
        sequence.offer(bar(minute))
    assert [(each.start_ms // MINUTE, each.late) for each in released(sequence)] == [
        (10, True),
        (11, True),
        (12, False),
    ]


def test_a_push_of_the_next_bar_says_that_its_predecessor_has_closed():
    sequence = sequence_after(9)
    sequence.running(11 * MINUTE)
    assert sequence.missing() == (10 * MINUTE, 10 * MINUTE)
    sequence.offer(bar(10))
    assert [each.late for each in released(sequence)] == [False]


def test_a_bar_is_late_once_its_successor_has_closed_too():
    sequence = sequence_after(9)
    sequence.running(12 * MINUTE)
    sequence.offer(bar(10))
    assert [each.late for each in released(sequence)] == [True]


def test_the_first_confirmation_stands_and_a_differing_one_is_a_revision():
    sequence = sequence_after(9)
    sequence.offer(bar(10, close="100"))
    assert sequence.offer(bar(10, close="100")) == "duplicate"
    assert sequence.offer(bar(10, close="101")) == "revision"
    assert released(sequence) == [bar(10, close="100")]
    assert sequence.offer(bar(10, close="101")) == "revision"
    assert released(sequence) == []


def test_a_bar_from_before_the_beginning_is_a_duplicate():
    assert sequence_after(9).offer(bar(5)) == "duplicate"


def test_what_was_never_published_can_be_passed_over_even_behind_bars_still_waiting():
    sequence = sequence_after(9)
    for minute in (10, 14, 16):
        sequence.offer(bar(minute))
    assert sequence.missing() == (11 * MINUTE, 13 * MINUTE)
    sequence.skip(11 * MINUTE, 13 * MINUTE)
    assert sequence.missing() == (15 * MINUTE, 15 * MINUTE)
    sequence.skip(15 * MINUTE, 15 * MINUTE)
    assert starts(released(sequence)) == [10, 14, 16]
    sequence.offer(bar(17))
    assert starts(released(sequence)) == [17]


def test_a_bar_from_nowhere_can_be_disbelieved_and_the_next_true_one_goes_on():
    sequence = sequence_after(9)
    sequence.offer(bar(999))
    sequence.disbelieve(9 * MINUTE)
    assert sequence.missing() is None
    sequence.offer(bar(10))
    assert [(each.start_ms // MINUTE, each.late) for each in released(sequence)] == [(10, False)]


def test_without_any_history_the_first_look_begins_the_sequence():
    sequence = sequence_after(None)
    sequence.running(10 * MINUTE)
    assert sequence.missing() is None
    sequence.offer(bar(10))
    assert starts(released(sequence)) == [10]


@given(st.data())
def test_any_order_of_any_offers_gives_every_bar_once_in_order(data: st.DataObject):
    """Against a model: the longest run of starts that have been offered, each with its first figures."""
    sequence = sequence_after(0)
    offers = data.draw(
        st.lists(st.tuples(st.integers(-2, 12), st.integers(1, 3), st.booleans()), max_size=60)
    )
    first: dict[int, int] = {}
    out: list[Bar] = []
    newest = 0
    for minute, price, push in offers:
        if push:
            sequence.running(minute * MINUTE)
            newest = max(newest, minute - 1)
        else:
            sequence.offer(bar(minute, close=str(price)))
            if minute > 0:
                first.setdefault(minute, price)
                newest = max(newest, minute)
        for each in released(sequence):
            assert each.late == (each.start_ms // MINUTE < newest)
            out.append(each)
    expected = []
    while len(expected) + 1 in first:
        expected.append(len(expected) + 1)
    assert starts(out) == expected
    assert [each.close for each in out] == [Decimal(first[minute]) for minute in expected]
    missing = [minute for minute in range(1, newest + 1) if minute not in first]
    hole = sequence.missing()
    assert (hole is None) == (not missing)
    if hole is not None:
        assert hole[0] == missing[0] * MINUTE
        assert all(minute in missing for minute in range(hole[0] // MINUTE, hole[1] // MINUTE + 1))


class Two:
    """BTCUSDT and ETHUSDT behind minute 9, in one order."""

    def __init__(self) -> None:
        self.btc = BarSequence("BTCUSDT", "1", 9 * MINUTE)
        self.eth = BarSequence("ETHUSDT", "1", 9 * MINUTE)
        self.order = CloseOrder()
        self.order.add(self.eth)
        self.order.add(self.btc)
        self.doubtful: set[str] = set()

    def may_go(self, sequence: BarSequence, now: float) -> bool:
        return sequence.symbol not in self.doubtful

    def released(self, now: float) -> list[tuple[int, str]]:
        bars = []
        while (shown := self.order.next(now, 5.0, self.may_go)) is not None:
            taken = self.order.take(now, 5.0, self.may_go)
            assert taken is not None
            assert taken.start_ms == shown.start_ms
            bars.append((taken.start_ms // MINUTE, taken.symbol[:3]))
        assert self.order.take(now, 5.0, self.may_go) is None
        return bars

    def patience_ends(self, now: float) -> float | None:
        return self.order.patience_ends(now, 5.0, self.may_go)


def test_bars_of_one_close_go_in_symbol_order_whichever_came_first():
    two = Two()
    two.eth.offer(bar(10, "ETHUSDT"))
    assert two.released(now=900.0) == []
    two.btc.offer(bar(10))
    assert two.released(now=900.1) == [(10, "BTC"), (10, "ETH")]


def test_a_symbol_is_waited_for_only_so_long_and_not_again_until_it_has_caught_up():
    two = Two()
    two.eth.offer(bar(10, "ETHUSDT"))
    assert two.released(now=900.0) == []
    assert two.patience_ends(now=902.0) == 905.0
    assert two.released(now=905.0) == [(10, "ETH")]
    two.eth.offer(bar(11, "ETHUSDT"))
    assert two.released(now=906.0) == [(11, "ETH")]
    two.btc.offer(bar(10))
    two.btc.offer(bar(11))
    assert two.released(now=907.0) == [(10, "BTC"), (11, "BTC")]
    two.eth.offer(bar(12, "ETHUSDT"))
    assert two.released(now=1020.0) == []


def test_a_symbol_that_is_not_at_the_same_close_is_not_waited_for_at_all():
    two = Two()
    for minute in (10, 11):
        two.eth.offer(bar(minute, "ETHUSDT"))
    two.order.remove("BTCUSDT")
    assert two.released(now=900.0) == [(10, "ETH"), (11, "ETH")]
    behind, unbegun = BarSequence("ADAUSDT", "1", 3 * MINUTE), BarSequence("XRPUSDT", "1", None)
    two.order.add(behind)
    two.order.add(unbegun)
    two.eth.offer(bar(12, "ETHUSDT"))
    assert two.released(now=900.0) == [(12, "ETH")]


def test_the_catching_up_of_one_symbol_does_not_renew_the_patience_of_others():
    two = Two()
    xrp = BarSequence("XRPUSDT", "1", 0)
    two.order.add(xrp)
    two.eth.offer(bar(10, "ETHUSDT"))
    assert two.released(now=900.0) == []
    for minute in range(1, 6):
        xrp.offer(bar(minute, "XRPUSDT"))
        assert two.released(now=900.0 + minute - 0.5) == [(minute, "XRP")]
    assert two.released(now=905.0) == [(10, "ETH")]


def test_a_bar_that_may_not_go_yet_holds_back_no_other_symbol_beyond_patience():
    two = Two()
    two.doubtful.add("BTCUSDT")
    two.btc.offer(bar(10))
    two.eth.offer(bar(10, "ETHUSDT"))
    assert two.released(now=900.0) == []
    assert two.released(now=905.0) == [(10, "ETH")]
    two.doubtful.clear()
    assert two.released(now=906.0) == [(10, "BTC")]


@given(st.permutations([(minute, symbol) for minute in range(10, 15) for symbol in ("BTCUSDT", "ETHUSDT")]))
def test_with_patience_everything_comes_by_close_and_symbol(arrivals: list[tuple[int, str]]):
    two = Two()
    sequences = {"BTCUSDT": two.btc, "ETHUSDT": two.eth}
    out: list[tuple[int, str]] = []
    for minute, symbol in arrivals:
        sequences[symbol].offer(bar(minute, symbol))
        out += two.released(now=900.0)
    assert out == [(minute, name) for minute in range(10, 15) for name in ("BTC", "ETH")]
