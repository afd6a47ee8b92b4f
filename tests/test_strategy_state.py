"""What a strategy keeps of a symbol is stored with its decision, so that nothing forgets it or tells it otherwise."""

import asyncio
import sqlite3
from contextlib import closing
from decimal import Decimal
from itertools import pairwise
from pathlib import Path

import msgspec
import pytest
from msgspec import Struct

from bot.cli import main
from bot.commands.parity_session import compare
from bot.errors import ConfigError, StrategyError
from bot.sessions.assembly import load_strategy
from bot.store.account.audit import audit
from bot.store.account.state import load_account
from bot.store.database import Database
from bot.store.recording.reader import Recording
from bot.strategy import Situation, StrategyConfig
from bot.strategy_state import StrategyStates, declared_state
from bot.testing import replay
from bot.trading.events import Signal, StrategyState
from tests.core import NOTHING_YET, a_config, a_trader
from tests.core import run as advance
from tests.eager import ALLOWED
from tests.factories import a_bar
from tests.lives import DEMO, after_a_bar, feed, session, settings
from tests.test_no_look_ahead import generated


class Counts:
    """Turns round every third bar that it has decided on, however often the bot was started anew."""

    needs_memory = False

    class State(Struct):
        decided: int = 0
        long: bool = False
        closes: list[float] = []
        worth: Decimal = Decimal(1)

    def __init__(self, config: StrategyConfig) -> None:
        self.fails_at = config.options.get("fails_at", 0)

    def decide(self, situation: Situation) -> Signal:
        state = situation.state
        state.decided += 1
        state.closes = [*state.closes[-2:], float(situation.bar.close)]
        state.worth *= Decimal("1.01")
        if state.decided % 3 == 0:
            state.long = not state.long
        if state.decided == self.fails_at:
            self.fails_at = 0
            raise ValueError("on purpose")
        detail = {
            "gate": "count",
            "decided": state.decided,
            "closes": state.closes,
            "worth": str(state.worth),
        }
        action = "long" if state.long else "short"
        return Signal(action=action, reason=f"count: {state.decided}", confidence=0.5, detail=detail)


class CountsOtherwise(Counts):
    """Keeps what the other one cannot read."""

    class State(Struct):
        decided: str = "none"


ALLOWED_HERE = {
    **ALLOWED,
    "counts": "tests.test_strategy_state:Counts",
    "otherwise": "tests.test_strategy_state:CountsOtherwise",
}


@pytest.fixture(autouse=True)
def _allowed(monkeypatch):
    monkeypatch.setattr("tests.lives.ALLOWED", ALLOWED_HERE)


def rows(path: Path, query: str) -> list[tuple]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(query).fetchall()


DECISIONS = "SELECT symbol, bar_start_ms, action, reason, detail_json FROM signals ORDER BY id"
STATES = "SELECT * FROM strategy_states ORDER BY symbol"


def test_each_symbol_has_its_own_and_a_step_tells_what_changed():
    config = a_config()
    steps = advance(a_trader(config, Counts(config.strategy)), generated(9))
    for index, step in enumerate(steps):
        (kept,) = step.strategy_states
        assert (kept.symbol, kept.updated_ms) == (step.bar.symbol, step.bar.close_ms)
        assert kept.strategy == "tests.test_strategy_state:Counts"
        assert msgspec.json.decode(kept.state)["decided"] == index // 2 + 1
    assert [step.signal.action for step in steps if step.bar.symbol == "ETHUSDT"] == [
        *("short", "short", "long", "long", "long", "short", "short", "short", "long"),
    ]


def test_what_does_not_change_is_not_told_again():
    class Keeps(Counts):
        def decide(self, situation):
            situation.state.long = True
            return Signal(action="hold", reason="kept: nothing new")

    config = a_config("BTCUSDT")
    steps = advance(a_trader(config, Keeps(config.strategy)), [a_bar(i) for i in range(5)])
    assert [len(step.strategy_states) for step in steps] == [1, 0, 0, 0, 0]


def test_a_strategy_that_fails_leaves_the_state_as_it_was():
    config = a_config("BTCUSDT", strategy={"options": {"fails_at": 4}, "on_error": "hold"})
    steps = advance(a_trader(config, Counts(config.strategy)), [a_bar(i) for i in range(8)])
    assert [step.signal.detail.get("decided") for step in steps] == [1, 2, 3, None, 4, 5, 6, 7]
    assert steps[3].strategy_states == ()


def test_an_object_that_was_kept_by_the_strategy_changes_nothing_later():
    class Clings(Counts):
        def decide(self, situation):
            if hasattr(self, "first"):
                self.first.decided = 1_000
            self.first = situation.state
            return super().decide(situation)

    config = a_config("BTCUSDT")
    steps = advance(a_trader(config, Clings(config.strategy)), [a_bar(i) for i in range(5)])
    assert [step.signal.detail["decided"] for step in steps] == [1, 2, 3, 4, 5]


def test_lives_cut_anywhere_decide_as_one_that_was_never_cut(tmp_path):
    events = feed(500, 30)
    config = settings("counts")
    asyncio.run(session(tmp_path / "whole.db", config, events))
    cuts = [0, *(after_a_bar(events, bars) for bars in (3, 4, 11, 25)), len(events)]
    for first, last in pairwise(cuts):
        asyncio.run(session(tmp_path / "cut.db", config, events[first:last]))
    assert rows(tmp_path / "cut.db", DECISIONS) == rows(tmp_path / "whole.db", DECISIONS)
    assert rows(tmp_path / "cut.db", STATES) == rows(tmp_path / "whole.db", STATES)
    assert len(rows(tmp_path / "cut.db", STATES)) == 2


def test_a_recording_of_a_later_session_replays_and_verifies_and_a_backtest_decides_alike(tmp_path, capsys):
    events, config = feed(500, 30), settings("counts", broker={"fill_model": "bar"})
    cut = after_a_bar(events, 10)
    database, folder = tmp_path / "demo.db", tmp_path / "recordings"
    asyncio.run(session(database, config, events[:cut], ends="SIGINT"))
    recording = asyncio.run(session(database, config, events[cut:], recordings=folder, ends="SIGINT"))
    header = Recording.read(recording, allowed=ALLOWED_HERE.values()).header
    assert [msgspec.json.decode(kept.state)["decided"] for kept in header.opening.strategy_states] == [10, 10]
    arguments = ["replay", str(recording), "--db", str(tmp_path / "replay.db"), "--verify", str(database)]
    assert main(arguments, ALLOWED_HERE) == 0, capsys.readouterr()
    assert compare(Recording.read(recording, allowed=ALLOWED_HERE.values())).findings == ()
    told = replay(recording, strategy=Counts(StrategyConfig()))
    assert told.signals[0].detail["decided"] == 11
    assert rows(tmp_path / "replay.db", STATES) == rows(database, STATES)
    # One figure of it changed, and the verification says where.
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("UPDATE strategy_states SET state_json = replace(state_json, 'true', 'false')")
        connection.execute("UPDATE strategy_states SET state_json = replace(state_json, '30', '31')")
    capsys.readouterr()
    assert main(arguments, ALLOWED_HERE) == 1
    assert "strategy_states" in capsys.readouterr().out


def test_another_strategy_begins_anew_and_a_state_that_no_longer_fits_is_one_line(tmp_path):
    path, events = tmp_path / "demo.db", feed(500, 4)
    asyncio.run(session(path, settings("counts"), events[:3]))
    asyncio.run(session(path, settings("eager"), events[3:6]))
    assert {kept[1] for kept in rows(path, STATES)} == {"tests.test_strategy_state:Counts"}

    class State(Struct):
        decided: str = ""

    with pytest.raises(
        ConfigError, match=r"what tests\.test_strategy_state:Counts keeps of BTCUSDT is no State of it"
    ):
        StrategyStates(
            type("Counts", (), {"State": State, "__module__": "tests.test_strategy_state"}),
            [
                StrategyState(
                    symbol="BTCUSDT", strategy=ALLOWED_HERE["counts"], updated_ms=1, state='{"decided":3}'
                )
            ],
        )


def test_the_doctor_reads_it_and_finds_what_nobody_left(tmp_path):
    path = tmp_path / "demo.db"
    asyncio.run(session(path, settings("counts"), feed(500, 6)))

    def differences() -> tuple[str, ...]:
        async def look() -> tuple[str, ...]:
            async with Database.open(path, DEMO) as database, database.transaction():
                return await audit(database)

        return asyncio.run(look())

    assert differences() == ()
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE strategy_states SET updated_ms = updated_ms + 1 WHERE symbol = 'BTCUSDT'")
        connection.execute("UPDATE strategy_states SET state_json = '{' WHERE symbol = 'ETHUSDT'")
    first, second = differences()
    assert first.startswith("strategy_states BTCUSDT is of ")
    assert second.startswith("strategy_states ETHUSDT: its state cannot be read")


def test_a_state_that_is_no_struct_is_refused():
    with pytest.raises(ConfigError, match=r"Mine\.State is no msgspec Struct"):
        declared_state(type("Mine", (), {"State": dict}))


class NeedsArguments(Struct):
    x: int


class Frozen(Struct, frozen=True):
    x: int = 1


class Unreadable(Struct):
    x: object = object()


class NotANumber(Struct):
    x: float = float("nan")


@pytest.mark.parametrize(
    ("state", "said"),
    [
        (NeedsArguments, "cannot be made without arguments: give each field a default"),
        (Frozen, "is frozen, so decide could never change it"),
        (Unreadable, "cannot be stored"),
        (NotANumber, "cannot be stored"),
    ],
)
def test_a_state_that_could_not_be_kept_is_refused_at_the_start(state, said):
    with pytest.raises(ConfigError, match=said):
        declared_state(type("Mine", (), {"State": state}))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), object(), {1: {2}}, "x" * 200_000, 2**70])
def test_what_cannot_be_kept_is_an_error_of_the_strategy_on_that_bar(value):
    class Wrong(Counts):
        def decide(self, situation):
            if situation.state.decided == 2:
                situation.state.closes = [value]
                return Signal(action="hold", reason="wrong: on purpose")
            return super().decide(situation)

    config = a_config("BTCUSDT", strategy={"on_error": "stop"})
    with pytest.raises(
        StrategyError, match=r"State (cannot be stored|is another once|has [\d,]+ characters)"
    ):
        advance(a_trader(config, Wrong(config.strategy)), [a_bar(i) for i in range(5)])


def test_a_strategy_without_state_is_handed_none_and_keeps_none(tmp_path):
    config = a_config("BTCUSDT")
    seen = []

    class Plain(Counts):
        State = None

        def decide(self, situation):
            seen.append(situation.state)
            return Signal(action="hold", reason="plain: nothing")

    steps = advance(a_trader(config, Plain(config.strategy)), [a_bar(i) for i in range(3)])
    assert seen == [None] * 3
    assert all(step.strategy_states == () for step in steps)


def test_it_is_loaded_with_the_account(tmp_path):
    path = tmp_path / "demo.db"
    asyncio.run(session(path, settings("counts"), feed(500, 3)))

    async def look():
        async with Database.open(path, DEMO) as database:
            return await load_account(database)

    assert [kept.symbol for kept in asyncio.run(look()).strategy_states] == ["BTCUSDT", "ETHUSDT"]
    assert NOTHING_YET.strategy_states == ()
    assert isinstance(load_strategy(settings("counts"), ALLOWED_HERE), Counts)
