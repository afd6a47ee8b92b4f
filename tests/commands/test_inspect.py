import asyncio
import io
import json
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from msgspec.structs import replace

from bot.commands import explain, status, trades
from bot.config import Config, RunConfig
from bot.errors import InputError
from bot.market import INTERVAL_MS
from bot.model.outlook import Outlook
from bot.store.account.steps import StepWriter, begin_session, end_session
from bot.store.database import Database, Identity
from bot.terminal import explanation
from bot.trading.events import Step, Transfer
from tests.commands.showing import show
from tests.factories import (
    START_MS,
    a_bar,
    a_fill,
    a_neighbor,
    a_position,
    a_recollection,
    a_signal,
    a_step,
    an_equity,
    an_order,
    an_outlook,
)

DEMO = Identity(mode="demo", category="linear", starting_cash=Decimal("10000"))


def a_round() -> Step:
    """A long that was ordered and filled, after a moment that rose."""
    moment = a_neighbor(bar_start_ms=START_MS - 9 * INTERVAL_MS["15"], forward_return=0.0296)
    signal = a_signal(
        "long",
        confidence=0.71,
        expected_return=0.004,
        return_std=0.011,
        positive_ratio=0.62,
        horizon_bars=3,
        reason="expected return beats the costs",
        detail={"gate": "none", "cost": 0.00152},
    )
    return a_step(
        0,
        signal=signal,
        recollection=a_recollection(moment),
        orders=(an_order(id=1, status="filled", filled_quantity=Decimal(1)), an_order(id=2, parent_id=1)),
        fills=(a_fill(1, price="100.5", fee="0.0276375"),),
        positions=(a_position(),),
        equity=(an_equity("9999.9723625", "-0.5"),),
    )


def a_database(folder: Path, steps: Sequence[Step] = (), *, ended: bool = True) -> Path:
    path = folder / "demo.db"

    async def write() -> None:
        async with Database.open(path, DEMO) as database:
            session = await begin_session(database, "demo", "{}", START_MS)
            writer = StepWriter(database, session)
            await writer.insert_history([a_bar(n - 10, close=100 + n) for n in range(10)])
            for step in steps:
                await writer.append(step)
            if ended:
                await end_session(database, session, START_MS + 60_000, "stopped by the user")

    asyncio.run(write())
    return path


def test_trades_are_a_plain_table_when_piped(tmp_path: Path, capsys) -> None:
    assert show(trades, a_database(tmp_path, [a_round()])) == 0
    first, header, row = capsys.readouterr().out.splitlines()
    assert first.endswith(
        "demo.db: demo linear, 1 session, decisions of 2023-11-15 00:15 to 2023-11-15 00:15 UTC"
    )
    assert header.split()[:3] == ["fill", "signal", "time"]
    assert row.split()[:9] == [
        "1",
        "1",
        "2023-11-15",
        "00:00:01",
        "BTCUSDT",
        "buy",
        "1",
        "100.5",
        "0.03",
    ]
    assert "2023-11-14 21:45 to 22:00 BTCUSDT 0.83 +3.0%" in row
    assert row.endswith("expected return beats the costs")


def test_trades_as_json_keep_every_digit(tmp_path: Path, capsys) -> None:
    show(trades, a_database(tmp_path, [a_round()]), json=True)
    (trade,) = json.loads(capsys.readouterr().out)
    assert (trade["price"], trade["fee"], trade["confidence"]) == ("100.5", "0.0276375", 0.71)


def test_without_trades_people_get_a_hint_and_machines_an_empty_list(tmp_path: Path, capsys) -> None:
    path = a_database(tmp_path)
    show(trades, path)
    assert "no trades yet" in capsys.readouterr().out
    show(trades, path, json=True)
    assert json.loads(capsys.readouterr().out) == []


class Screen(io.StringIO):
    """A terminal that keeps what it is shown."""

    def isatty(self) -> bool:
        return True


def on_a_screen(monkeypatch: pytest.MonkeyPatch, columns: int, command: ModuleType, path: Path) -> list[str]:
    """What a terminal so wide is shown, line by line."""
    screen = Screen()
    with monkeypatch.context() as patch:
        patch.setenv("COLUMNS", str(columns))
        patch.setattr("sys.stdout", screen)
        show(command, path)
    return screen.getvalue().splitlines()


def test_on_a_narrow_screen_what_led_to_a_fill_stands_below_its_figures(tmp_path: Path, monkeypatch) -> None:
    lines = on_a_screen(monkeypatch, 60, trades, a_database(tmp_path, [a_round()]))
    begin = next(place for place, line in enumerate(lines) if "fill  time UTC" in line)
    assert lines[begin:] == [
        "\x1b[1mfill  time UTC          symbol   side  quantity  price   pnl\x1b[0m",
        "   1  2023-11-15 00:00  BTCUSDT  buy          1  100.5  0.00",
        "\x1b[2m    fee 0.03, confidence 0.71, expected +0.40%, signal 1\x1b[0m",
        "\x1b[2m    expected return beats the costs\x1b[0m",
        "\x1b[2m    closest: 2023-11-14 21:45 to 22:00 BTCUSDT 0.83 +3.0%\x1b[0m",
        "",
        "1 fills: realized +0.00, fees 0.03",
    ]


def test_a_narrow_screen_is_spared_the_columns_that_matter_least(tmp_path: Path, monkeypatch) -> None:
    path = a_database(tmp_path, [a_round()])
    for columns, expected in (
        (120, ["similarity", "weight", "regime"]),
        (80, ["similarity", "weight"]),
        (73, ["similarity"]),
    ):
        lines = on_a_screen(monkeypatch, columns, explain, path)
        (header,) = [line for line in lines if "moment from .. to, UTC" in line]
        assert [name for name in ("similarity", "weight", "regime") if name in header] == expected
        assert len(header) <= columns + len("\x1b[1m\x1b[0m")


def test_an_explanation_tells_the_moment_its_past_and_what_followed(tmp_path: Path, capsys) -> None:
    assert show(explain, a_database(tmp_path, [a_round()])) == 0
    told = capsys.readouterr().out
    for line in (
        "decision 1: LONG BTCUSDT 15, closed at 2023-11-15 00:15:00 UTC, close 100, regime up calm",
        "result: filled",
        "because: expected return beats the costs",
        "expected return +0.40% ± 1.10% over 3 bars (log, before costs), confidence 0.71",
        "probability of a rise 62%, base rate 51% (mean +0.10%); effective sample size 7.2, p-value 31%",
        "raw probability of a rise 66%, calibrated on 412 earlier votes (slope 0.40; nearest moment at least as "
        "similar as in 83% of them)",
        "regime vote: up calm 75%, down turbulent 25%",
        "expected return: the calibrated probability of a rise times the usual size of a move; "
        "the moments' own mean, by weight and at the volatility of their time, is +2.96%",
        "the 1 nearest of 1000 moments, and the 3 bars after it",
        "orders that followed",
        "fills that followed",
    ):
        assert line in told.splitlines()
    (moment,) = [line for line in told.splitlines() if "2023-11-14 21:45" in line]
    assert moment.split() == [
        *(
            "1",
            "2023-11-14",
            "21:45",
            "to",
            "22:00",
            "BTCUSDT",
            "0.830",
            "1.000",
            "up",
            "calm",
            "+2.96%",
            "▁▃▆█",
        )
    ]
    (figure,) = [line for line in told.splitlines() if line.startswith("cost")]
    assert figure.split() == ["cost", "0.00152"]


def an_explanation(tmp_path: Path, capsys, outlook: Outlook) -> list[str]:
    whole = a_recollection(a_neighbor())
    assert whole.forecast is not None
    recollection = replace(whole, forecast=replace(whole.forecast, outlook=outlook))
    show(explain, a_database(tmp_path, [a_step(0, recollection=recollection)]))
    return capsys.readouterr().out.splitlines()


def test_an_explanation_tells_the_blend_the_head_s_own_view_and_the_gate(tmp_path: Path, capsys) -> None:
    told = an_explanation(tmp_path, capsys, an_outlook())
    for line in (
        "in 9 of 10 cases -3.00% to +4.00%, median +0.10%",
        "the head alone: -2.00% to +3.00%, median +0.20%, 54% up, which counts 0.30 times beside the vote",
        "gate 0.41 to moments in a like state (weighing as 900): -4.00% to +5.00%, median +0.00%; "
        "2% of the attention found none",
    ):
        assert line in told


def test_an_explanation_says_where_the_gate_was_closed(tmp_path: Path, capsys) -> None:
    told = an_explanation(
        tmp_path, capsys, an_outlook(recalled=None, gate=0.0, null=1.0, effective_sample_size=0.0)
    )
    assert "gate 0.00: no moment's odds are known yet" in told


def test_an_explanation_of_a_hold_without_moments_says_why_there_are_none(tmp_path: Path, capsys) -> None:
    path = a_database(tmp_path, [a_step(0, recollection=a_recollection(regime=None))])
    show(explain, path, id=1)
    told = capsys.readouterr().out
    assert "decision 1: HOLD" in told
    assert "regime not known yet" in told
    assert "no moments recalled: no moment is old enough yet" in told
    assert "no order followed" in told


def test_an_explanation_as_json_has_the_paths_of_its_neighbors(tmp_path: Path, capsys) -> None:
    show(explain, a_database(tmp_path, [a_round()]), json=True)
    told = json.loads(capsys.readouterr().out)
    assert told["signal"]["action"] == "long"
    assert told["neighbors"][0]["closes"] == ["101", "102", "103", "104"]
    assert told["fills"][0]["price"] == "100.5"


def test_status_tells_session_account_and_feed(tmp_path: Path, capsys) -> None:
    path = a_database(tmp_path, [a_round()])
    assert show(status, path) == 0
    told = capsys.readouterr().out
    first, equity, counts, *_ = told.splitlines()
    assert first == (
        f"{path}: demo linear, session 1 of 2023-11-15 00:00:00 UTC ended 2023-11-15 00:01:00 UTC: "
        "stopped by the user"
    )
    assert equity.startswith(
        "equity 9,999.47 (-0.53, +0.00%, since the start), drawdown 0.00%, cash 9,999.97"
    )
    assert counts == "decisions: long 1; events: none"
    (position,) = [line for line in told.splitlines() if line.split()[:2] == ["BTCUSDT", "0.5"]]
    assert position.split()[:3] == ["BTCUSDT", "0.5", "100.5"]
    (feed,) = [line for line in told.splitlines() if line.split()[:2] == ["BTCUSDT", "15"]]
    assert feed.split()[:4] == ["BTCUSDT", "15", "11", "0"]


def test_status_counts_no_deposit_as_a_gain(tmp_path: Path, capsys) -> None:
    moved = [
        Transfer(id=id, time_ms=START_MS, amount=Decimal(amount), reason="test")
        for id, amount in ((1, "2500"), (2, "-500.5"))
    ]
    path = a_database(
        tmp_path,
        [
            a_step(
                transfers=tuple(moved), equity=(replace(an_equity("12009.5"), unit_value=Decimal("1.001")),)
            )
        ],
    )
    assert show(status, path) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert (
        "equity 12,009.50 (+10.00, +0.10%, since the start; transfers +1,999.50), drawdown 0.00%, cash 12,009.50"
        in told
    )


def test_status_tells_a_killed_session_from_one_that_ended(tmp_path: Path, capsys) -> None:
    show(status, a_database(tmp_path, ended=False))
    assert "was killed; the next start resumes it" in capsys.readouterr().out


@pytest.mark.parametrize("mode", ["backtest", "replay"])
def test_status_never_says_that_a_finite_run_is_resumed(tmp_path: Path, capsys, mode: Any) -> None:
    path = tmp_path / f"{mode}.db"

    async def cut_off() -> None:
        async with Database.open(path, replace(DEMO, mode=mode)) as database:
            await begin_session(database, mode, "{}", START_MS)

    asyncio.run(cut_off())
    assert show(status, path) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "was interrupted" in told
    assert "resumes" not in told


def test_status_of_a_bot_at_work_names_its_process(tmp_path: Path, capsys) -> None:
    path = a_database(tmp_path)

    async def main() -> None:
        async with Database.open(path, DEMO):
            await asyncio.to_thread(show, status, path)

    asyncio.run(main())
    assert "is running (process " in capsys.readouterr().out


def test_a_missing_database_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no database at"):
        show(status, tmp_path / "none.db")


def test_without_a_mode_the_only_live_database_is_meant(tmp_path: Path, capsys) -> None:
    config = Config(run=RunConfig(database=str(tmp_path / "{mode}.db"), runs=str(tmp_path / "runs")))
    options = status.Options(json=True)
    with pytest.raises(InputError, match=r"--demo or run_bot\.py backtest makes one"):
        status.run(options, config, {})
    a_database(tmp_path)
    assert status.run(options, config, {}) == 0
    assert json.loads(capsys.readouterr().out)["mode"] == "demo"


def test_a_sparkline_goes_from_its_lowest_value_to_its_highest() -> None:
    assert explanation.sparkline([0.0, 1.0, 2.0, 7.0]) == "▁▂▃█"
    assert explanation.sparkline([5.0, 5.0]) == "▄▄"
    assert explanation.sparkline([]) == ""
    assert explanation.sparkline(range(1000))[::17] == "▁█"
