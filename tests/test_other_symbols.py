"""What a strategy sees of another symbol: what had closed and come in by then, live, replayed or in a backtest."""

import itertools
from decimal import Decimal

import pytest

from bot.cli import main
from bot.commands.parity_session import compare
from bot.market import INTERVAL_MS
from bot.store.recording.reader import Recording
from bot.strategy import Situation, StrategyConfig
from bot.trading.events import Signal
from tests.bot_process import QUICK, run
from tests.core import a_config, a_trader, merged
from tests.core import run as advance
from tests.eager import ALLOWED
from tests.factories import a_bar
from tests.test_no_look_ahead import garbage, generated

SYMBOLS = ("BTCUSDT", "ETHUSDT", "SOLUSDT")
STEP = INTERVAL_MS["15"]


class SeesOthers:
    """Goes long while the ratio of two closes falls; says of every symbol what it sees."""

    needs_memory = False

    def __init__(self, config: StrategyConfig) -> None:
        self._symbols = config.options.get("symbols", "BTCUSDT ETHUSDT").split()

    def decide(self, situation: Situation) -> Signal:
        seen = {}
        for symbol in self._symbols:
            other = situation.other(symbol)
            assert other.recent.close_ms <= situation.bar.close_ms
            assert other.recent.as_of(2**60).close_ms == other.recent.close_ms
            seen[symbol] = [
                other.recent.close_times(3).tolist(),
                other.recent.closes(3).tolist(),
                other.recent.opens(2).tolist(),
                other.recent.returns(2).tolist(),
                len(other.recent),
                str(other.position.quantity),
                other.bars_held,
            ]
        first, last = seen[self._symbols[0]][1], seen[self._symbols[-1]][1]
        falls = len(first) > 2 and len(last) > 2 and first[-1] * last[-2] < first[-2] * last[-1]
        return Signal(action="long" if falls else "short", reason="ratio: seen", confidence=0.5, detail=seen)


ALLOWED_HERE = {**ALLOWED, "sees_others": "tests.test_other_symbols:SeesOthers"}
PAIR = QUICK.replace("tests.eager:Eager", "tests.test_other_symbols:SeesOthers")


def seen_by(bars, symbols=SYMBOLS):
    """Of each bar in this order, what was seen: symbol to its last closing time and close."""
    config = a_config(*symbols, strategy={"options": {"symbols": " ".join(symbols)}})
    trader = a_trader(config, SeesOthers(config.strategy))
    steps = advance(trader, bars)
    return [
        {
            symbol: (figures[0][-1], figures[1][-1]) if figures[0] else None
            for symbol, figures in step.signal.detail.items()
        }
        for step in steps
    ]


@pytest.mark.parametrize("order", list(itertools.permutations(SYMBOLS)))
def test_of_one_close_only_what_came_before_is_seen_and_else_the_bar_before(order):
    bars = [
        a_bar(index, close=100 * (place + 1) + index, symbol=symbol)
        for index in range(4)
        for place, symbol in enumerate(order)
    ]
    come = {}
    for bar, seen in zip(bars, seen_by(bars), strict=True):
        come[bar.symbol] = (bar.close_ms, float(bar.close))
        assert seen == {symbol: come.get(symbol) for symbol in SYMBOLS}


def test_a_bar_that_closes_later_is_not_seen_even_where_it_has_come():
    """BTCUSDT's bar is fetched again while the others go on."""
    steps = {s: [a_bar(i, close=100 + i, symbol=s) for i in range(5)] for s in SYMBOLS[:2]}
    bars = [*merged(*(bars[:2] for bars in steps.values())), *steps["ETHUSDT"][2:5], steps["BTCUSDT"][2]]
    seen = seen_by(bars, SYMBOLS[:2])[-1]
    assert seen["ETHUSDT"] == (bars[-1].close_ms, 102.0)
    # What was hidden is seen once its time has come.
    seen = seen_by([*bars, steps["BTCUSDT"][3]], SYMBOLS[:2])[-1]
    assert seen["ETHUSDT"] == (bars[-1].close_ms + STEP, 103.0)


def test_a_symbol_whose_bars_have_a_gap_shows_those_behind_it_and_none_before():
    btc = [a_bar(i, symbol="BTCUSDT") for i in range(6)]
    eth = [a_bar(i, close=100 + i, symbol="ETHUSDT") for i in (0, 1, 4)]
    config = a_config("BTCUSDT", "ETHUSDT")
    steps = advance(a_trader(config, SeesOthers(config.strategy)), merged(btc, eth))
    known = [step.signal.detail["ETHUSDT"][4] for step in steps if step.bar.symbol == "BTCUSDT"]
    assert known == [0, 1, 2, 2, 2, 1]


def test_what_comes_later_changes_nothing_that_is_seen():
    bars = generated(60)
    truth = seen_by(bars, SYMBOLS[:2])
    for cut in range(50, 70):
        assert seen_by(bars[:cut] + garbage(bars[cut:], cut), SYMBOLS[:2])[:cut] == truth[:cut]


def test_nothing_of_another_symbol_can_be_written_to():
    caught = []

    class Keeps(SeesOthers):
        def decide(self, situation: Situation) -> Signal:
            caught.append(situation.other("ETHUSDT"))
            return super().decide(situation)

    config = a_config()
    advance(a_trader(config, Keeps(config.strategy)), generated(5))
    other = caught[-1]
    for column in (other.recent.closes, other.recent.opens, other.recent.returns):
        with pytest.raises(ValueError, match="read-only"):
            column(2)[0] = 1.0
    with pytest.raises(AttributeError):
        other.position = None
    with pytest.raises(AttributeError):
        other.position.quantity = Decimal(1)


def test_the_position_of_another_symbol_is_the_accounts():
    config = a_config()
    bars = generated(8)
    steps = advance(a_trader(config, SeesOthers(config.strategy)), bars)
    held = {}
    for step in steps:
        held.update((position.symbol, str(position.quantity)) for position in step.positions)
        for symbol, figures in step.signal.detail.items():
            assert figures[5] == held.get(symbol, "0")
    assert any(float(quantity) for quantity in held.values())


def test_a_symbol_that_the_run_does_not_have_is_one_line(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.toml").write_text(
        '[strategy]\nname = "tests.test_other_symbols:SeesOthers"\n[strategy.options]\nsymbols = "DOGEUSDT"\n'
    )
    lines = ["start_ms,open,high,low,close,volume,turnover"]
    lines += [f"{a_bar(i).start_ms},100,101,99,100,5," for i in range(20)]
    (tmp_path / "BTCUSDT_x_15m_.csv").write_text("\n".join(lines))
    code = main(["backtest", "--data", "BTCUSDT_x_15m_.csv", "--no-funding"], ALLOWED_HERE)
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert code == 2
    assert "DOGEUSDT is no symbol of this run, which has BTCUSDT; add it to run.symbols" in error


def test_a_session_its_replay_and_a_backtest_over_its_bars_see_the_same(tmp_path):
    (tmp_path / "config.toml").write_text(PAIR)
    assert run(tmp_path, "--demo", "--max-bars", "40", BOT__BROKER__FILL_MODEL="bar").code == 0
    (recording,) = (tmp_path / "var" / "recordings").iterdir()
    out = ["--db", str(tmp_path / "replay.db"), "--verify", str(tmp_path / "demo.db")]
    assert main(["replay", str(recording), *out], ALLOWED_HERE) == 0
    found = compare(Recording.read(recording, allowed=ALLOWED_HERE.values()))
    assert found.findings == ()
    assert found.decisions >= 80
