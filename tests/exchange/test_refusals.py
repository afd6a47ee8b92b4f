from bot.exchange.refusals import Refusals


def test_a_thousand_broken_messages_are_one_line_now_and_one_a_minute():
    refusals, told = Refusals(), []
    for second in range(180):
        for number in range(1_000):
            if text := refusals.note("refused", "BTCUSDT", f"no. {number} of {second}", float(second)):
                told.append(text)
        told += [text for _, _, text in refusals.due(float(second))]
    assert told[0] == "no. 0 of 0"
    assert told[1] == "60999 more in 60 s, the first: no. 1 of 0"
    assert len(told) == 3


def test_kinds_and_symbols_are_counted_apart():
    refusals = Refusals()
    for kind, symbol in (
        ("refused", "BTCUSDT"),
        ("refused", "ETHUSDT"),
        ("doubted", "BTCUSDT"),
        ("refused", None),
    ):
        assert refusals.note(kind, symbol, "first", 0.0) == "first"
        assert refusals.note(kind, symbol, "second", 0.0) is None
    assert len(list(refusals.due(60.0))) == 4


def test_what_was_quiet_for_a_minute_is_told_at_once_again():
    refusals = Refusals()
    assert refusals.note("refused", None, "one", 0.0) == "one"
    assert list(refusals.due(61.0)) == []
    assert refusals.note("refused", None, "two", 62.0) == "two"


def test_an_example_is_cut():
    refusals = Refusals()
    text = refusals.note("refused", None, "x" * 50_000_000, 0.0)
    assert text is not None
    assert len(text) == 200
    refusals.note("refused", None, "y" * 50_000_000, 1.0)
    ((_, _, more),) = refusals.due(60.0)
    assert len(more) < 250
