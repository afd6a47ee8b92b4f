"""What ships keeps every rule; each bad strategy breaks one, and is told which and how to mend it."""

import random
import time
from decimal import Decimal

import msgspec
import pytest
from msgspec import Struct

from bot.errors import ConfigError
from bot.synthetic import PRESETS, SyntheticMarket
from bot.testing import StrategyDefect, a_bar, check_strategy
from bot.trading.events import Signal
from strategies import STRATEGIES

MARKET = SyntheticMarket(PRESETS["demo"], 5, "60")
BARS = [bar for symbol in ("BTCUSDT", "ETHUSDT") for bar in MARKET.bars(symbol, 0, 40)]


@pytest.mark.parametrize("name", STRATEGIES)
def test_every_strategy_that_ships_keeps_all_rules(name):
    config = {"strategy.horizon_bars": 4, "memory.exclusion_bars": 1}
    report = check_strategy(name, enters_at_once=name == "buy_and_hold", config=config)
    assert report.decisions == 1_200
    assert sum(report.actions.values()) == 1_200
    assert 0 < report.seconds_a_decision < 0.01


class Good:
    """Long after a rise, short after a fall; counts in a declared State."""

    needs_memory = False

    class Options(Struct, frozen=True, kw_only=True):
        bars_back: int = 3

    class State(Struct):
        decided: int = 0

    def __init__(self, config):
        self.bars_back = config.read_options(self.Options).bars_back

    def decide(self, situation):
        situation.state.decided += 1
        closes = situation.recent.closes(self.bars_back)
        if len(closes) < self.bars_back:
            return Signal(action="hold", reason="bars: too few")
        action = "long" if closes[-1] > closes[0] else "short"
        return Signal(action=action, reason="rise: which way", detail={"decided": situation.state.decided})


class Chance(Good):
    def decide(self, situation):
        return Signal(action="hold", reason="chance: drawn", confidence=random.random())


class Clock(Good):
    def decide(self, situation):
        return Signal(action="hold", reason=f"clock: {time.perf_counter_ns()}")


class Remembers(Good):
    """Once a bar only, so that asking twice does not show it."""

    def __init__(self, config):
        super().__init__(config)
        self.seen = set()

    def decide(self, situation):
        self.seen.add(situation.bar.start_ms)
        return Signal(action="hold", reason=f"seen: {len(self.seen)} bars")


class WritesToBars(Good):
    def decide(self, situation):
        situation.recent.closes(3)[:] = 0.0
        return super().decide(situation)


class WritesToPosition(Good):
    def decide(self, situation):
        situation.position.quantity = Decimal(1)
        return super().decide(situation)


class Forces(Good):
    def decide(self, situation):
        msgspec.structs.force_setattr(situation.position, "updated_ms", situation.bar.start_ms + 7)
        return super().decide(situation)


class KnowsWhatComes(Good):
    closes = {}

    def decide(self, situation):
        bar = situation.bar
        self.closes.setdefault((bar.symbol, bar.start_ms), float(bar.close))
        following = self.closes.get((bar.symbol, bar.close_ms))
        if following is None or len(situation.recent) < 2:
            return Signal(action="hold", reason="future: not known")
        return Signal(action="long" if following > float(bar.close) else "short", reason="future: known")


class LooksTooFar(Good):
    def decide(self, situation):
        return Signal(action="hold", reason=f"far: {situation.recent.closes(20)[-20]}")


class FailsLater(Good):
    def decide(self, situation):
        if len(situation.recent) == 30:
            raise KeyError("gone")
        return super().decide(situation)


class EntersAtOnce(Good):
    def decide(self, situation):
        return Signal(action="long", reason="at once: always")


class DetailOfObjects(Good):
    def decide(self, situation):
        return Signal(action="hold", reason="detail: an object", detail={"situation": situation})


class SaysNothing(Good):
    def decide(self, situation):
        return None


class ChanceInState(Good):
    def decide(self, situation):
        situation.state.decided = random.randrange(10**9)
        return Signal(action="hold", reason="state: drawn")


class OrderOfASet(Good):
    def decide(self, situation):
        return Signal(action="hold", reason=f"set: {list({'fear', 'greed', 'hope', 'doubt', 'boredom'})}")


class Slow(Good):
    def decide(self, situation):
        until = time.perf_counter() + 0.003
        while time.perf_counter() < until:
            pass
        return Signal(action="hold", reason="slow: at last")


ANOTHER = {OrderOfASet: True}
BAD = {
    Chance: "answers otherwise when it is asked again on the BTCUSDT bar of .*confidence differs.*belongs into a State",
    Clock: "answers otherwise when it is asked again .*not on chance, a clock",
    Remembers: "answers otherwise when it is made anew, as a restart does.*what it must remember belongs into a State",
    WritesToBars: "read-only: what it is given cannot be written to; copy it",
    WritesToPosition: "immutable type: 'Position': what it is given cannot be written to",
    Forces: "has changed situation.position .*copy what you want to change",
    KnowsWhatComes: "decides otherwise on .* once later bars are others .*it knows of bars after the one",
    LooksTooFar: "raises IndexError on .*with 1 bars known: arrays hold fewer values where fewer are known; hold there",
    FailsLater: "raises KeyError on .*'gone': mend it, since a live session would hold on that bar",
    EntersAtOnce: "goes long on the first bar of BTCUSDT.*hold where too few bars are known",
    DetailOfObjects: "DetailOfObjects.decide on .*: detail",
    SaysNothing: "returns NoneType on .*return a Signal, also to hold",
    ChanceInState: "leaves another State when it is asked again",
    OrderOfASet: r"decides otherwise in another process: it depends on the order of a set, on hash\(\) or id\(\)",
    Slow: "takes 0.00.* s in the median, more than max_seconds = 0.002",
}


@pytest.mark.parametrize("kind", BAD, ids=lambda kind: kind.__name__)
def test_a_bad_strategy_is_told_what_to_mend(kind):
    seconds = 0.002 if kind is Slow else 1.0
    with pytest.raises(StrategyDefect, match=BAD[kind]) as caught:
        check_strategy(kind, bars=BARS, another_process=ANOTHER.get(kind, False), max_seconds=seconds)
    assert "\n" not in str(caught.value)
    assert kind.__name__ in str(caught.value)


def test_a_good_one_passes_with_options_and_bars_of_ones_own():
    report = check_strategy(Good, bars=BARS, bars_back=2)
    assert report.decisions == len(BARS)
    assert set(report.actions) == {"hold", "long", "short"}
    with pytest.raises(StrategyDefect, match="first bar"):
        check_strategy(Good, bars=BARS, bars_back=1, another_process=False)
    assert check_strategy(Good, bars=BARS, bars_back=1, another_process=False, enters_at_once=True)


def test_wrong_options_and_what_is_no_strategy_are_configuration_errors():
    with pytest.raises(ConfigError, match=r"strategy\.options\.bars_bakc"):
        check_strategy(Good, bars=BARS, bars_bakc=2)
    with pytest.raises(ConfigError, match="no decide"):
        check_strategy(type("Nothing", (), {"__init__": lambda self, config: None}), bars=[a_bar()])
