"""``fetch`` brings funding rates beside bars, ``backtest`` charges them, and what is not known is told."""

import asyncio
import gzip
import json
from collections.abc import Sequence
from itertools import count
from pathlib import Path

import pytest

from bot.cli import main
from bot.commands.fetch import Options, fetch
from bot.config import Config, RunConfig
from bot.demo.exchange import DemoExchange
from bot.demo.faults import Faults
from bot.exchange.config import ExchangeConfig
from bot.market import FundingRate
from bot.sessions.known_funding import funding_note
from strategies import STRATEGIES
from tests.books import audit, rows
from tests.factories import START_MS, a_bar

HOUR = 3_600_000
numbers = count(1)
BARS = 200
RUN = ("--warmup", "4", "--symbols", "BTCUSDT", "--interval", "60")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Buys at the first decision and holds; the first four bars warm up."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BOT__STRATEGY__NAME", "buy_and_hold")
    monkeypatch.setenv("BOT__MEMORY__WARMUP_BARS", "4")
    return tmp_path


def fetched(
    *, since: int = START_MS, until: int | None = None, faults: Faults | None = None, category: str = "linear"
) -> dict[str, int]:
    """Bars and rates of an exchange, fetched into this folder's store; how often each endpoint was asked."""

    async def run() -> dict[str, int]:
        bars = {"BTCUSDT": [a_bar(n, close=100 + n % 9, interval="60") for n in range(BARS + 1)]}
        async with DemoExchange(
            bars, category, ("BTCUSDT",), "60", live_from_ms=START_MS + BARS * HOUR, bar_seconds=1,
            faults=faults or Faults(),
        ) as exchange:  # fmt: skip
            config = Config(
                run=RunConfig(symbols=("BTCUSDT",), interval="60", category=category),
                exchange=ExchangeConfig(rest_url=exchange.rest_url),
            )
            options = Options(json=True, since=since, until=until)
            assert await fetch(options, config) == 0
            return dict(exchange.requests)

    return asyncio.run(run())


def backtest(capsys: pytest.CaptureFixture[str], *options: str) -> dict:
    """The summary of a run, of which ``last()`` is the database."""
    capsys.readouterr()
    assert main(["backtest", *RUN, "--name", f"run{next(numbers)}", "--json", *options], STRATEGIES) == 0
    return json.loads(capsys.readouterr().out)


def told(capsys: pytest.CaptureFixture[str], *options: str) -> str:
    capsys.readouterr()
    assert main(["backtest", *RUN, "--name", f"run{next(numbers)}", *options], STRATEGIES) == 0
    return " ".join(capsys.readouterr().out.split())


def last() -> Path:
    return max(Path("var/runs").glob("run*.db"), key=lambda path: int(path.stem[3:]))


def paid() -> list[dict]:
    return rows(last(), "SELECT * FROM funding ORDER BY time_ms")


def written(hours: Sequence[int], *, aside: int = 0, both: bool = False) -> str:
    lines = [f"{START_MS + hour * HOUR},0.0001" for hour in hours] if both or not aside else []
    lines += [f"{START_MS + hour * HOUR + aside},0.0001" for hour in hours] if aside else []
    name = "BTCUSDT_my_funding.csv"
    Path(name).write_bytes(gzip.compress("\n".join(["time_ms,rate", *sorted(lines), ""]).encode()))
    return name


def test_fetched_rates_are_charged_by_default_and_left_out_only_where_a_person_says_so(folder, capsys):
    fetched()
    (said,) = json.loads(capsys.readouterr().out)
    assert (said["funding"]["stored"], said["funding"]["added"], said["funding"]["gaps"]) == (25, 25, [])
    charged = backtest(capsys)
    audit(last())
    assert [row["time_ms"] for row in paid()] == [START_MS + hour * HOUR for hour in range(8, BARS + 1, 8)]
    assert {row["mark_source"] for row in paid()} == {"close"}
    assert charged["funding"] != 0
    assert charged["funding_note"] == {"left_out": False, "unknown": [], "gaps": []}
    free = backtest(capsys, "--no-funding")
    assert free["funding"] == 0
    assert free["funding_note"]["left_out"]
    assert "NO FUNDING --no-funding: what positions pay" in told(capsys, "--no-funding")
    assert "FUNDING" not in told(capsys)


def test_a_file_stands_in_place_of_the_stored_rates(folder, capsys):
    fetched()
    stored = backtest(capsys)
    named = backtest(capsys, "--funding", written(range(8, BARS + 1, 8)))
    assert {row["rate"] for row in paid()} == {"0.0001"}
    assert named["funding"] < 0
    assert named["funding"] != stored["funding"]


@pytest.mark.parametrize("both", [False, True])
def test_a_file_that_is_stamped_seven_milliseconds_late_gives_a_payment_a_settlement(folder, capsys, both):
    fetched()
    backtest(capsys, "--funding", written(range(8, 96, 8), aside=7, both=both), "--to", "2023-11-19")
    assert [row["time_ms"] for row in paid()] == [START_MS + hour * HOUR for hour in range(8, 96, 8)]
    assert len(paid()) == 11


def test_a_hole_in_the_known_rates_is_a_warning_with_its_extent(folder, capsys):
    fetched()
    hours = [hour for hour in range(8, BARS + 1, 8) if not 40 <= hour < 64]
    said = backtest(capsys, "--funding", written(hours))
    (gap,) = said["funding_note"]["gaps"]
    assert gap == {
        "symbol": "BTCUSDT", "settlements": 3, "from_ms": START_MS + 32 * HOUR, "to_ms": START_MS + 64 * HOUR,
    }  # fmt: skip
    warning = told(capsys, "--funding", written(hours))
    assert (
        "FUNDING GAPS 3 settlements have no known rate and were not charged: BTCUSDT 3 between "
        "2023-11-16 08:00 and 2023-11-17 16:00 UTC" in warning
    )


def test_rates_that_begin_after_the_first_decision_or_end_before_the_last_are_told_too(folder, capsys):
    fetched()
    said = backtest(capsys, "--funding", written(range(48, 97, 8)))
    first, last = said["funding_note"]["gaps"]
    assert (first["settlements"], first["to_ms"]) == (5, START_MS + 48 * HOUR)
    assert (last["settlements"], last["from_ms"]) == (13, START_MS + 96 * HOUR)
    # What only warms up owes nothing.
    later = backtest(capsys, "--funding", written(range(48, BARS + 1, 8)), "--from", "2023-11-17")
    assert later["funding_note"]["gaps"] == []


def test_bars_without_any_known_rate_say_so(folder, capsys):
    lines = [f"{START_MS + n * HOUR},100,100,100,100,1," for n in range(40)]
    Path("BTCUSDT_my_1h.csv").write_text(
        "\n".join(["start_ms,open,high,low,close,volume,turnover", *lines, ""])
    )
    said = told(capsys, "--data", "BTCUSDT_my_1h.csv")
    assert "NO FUNDING no funding rates known for BTCUSDT" in said


def test_spot_has_none_and_says_nothing_of_it(folder, capsys, monkeypatch):
    monkeypatch.setenv("BOT__RUN__CATEGORY", "spot")
    asked = fetched(category="spot")
    assert "funding/history" not in asked
    (said,) = json.loads(capsys.readouterr().out)
    assert said["funding"] is None
    assert backtest(capsys)["funding_note"] is None


def test_fetching_goes_on_from_what_is_stored_and_asks_for_holes_again(folder, capsys):
    late = Faults(funding_late_ms=400 * HOUR)
    fetched(faults=late)
    (first,) = json.loads(capsys.readouterr().out)
    assert 0 < first["funding"]["stored"] < 25
    fetched()
    (second,) = json.loads(capsys.readouterr().out)
    assert second["funding"]["stored"] == 25
    assert second["funding"]["added"] == 25 - first["funding"]["stored"]
    asked = fetched(faults=Faults(funding_noise_ms=7))
    (third,) = json.loads(capsys.readouterr().out)
    assert (third["funding"]["stored"], third["funding"]["added"]) == (25, 0)
    assert asked.get("funding/history", 0) <= 1


def test_a_run_that_is_made_again_pays_what_it_paid(folder, capsys):
    fetched()
    assert backtest(capsys)["funding"] != 0
    assert main(["backtest", *RUN, "--name", "one"], STRATEGIES) == 0
    assert main(["backtest", "--again", "one", "--name", "two"], STRATEGIES) == 0
    one, two = (
        rows(f"var/runs/{name}.db", "SELECT * FROM funding ORDER BY time_ms") for name in ("one", "two")
    )
    assert one == two
    assert len(one) == 25


def test_a_run_between_two_settlements_owes_none():
    rate = FundingRate(symbol="BTCUSDT", time_ms=START_MS, rate=1)
    short, long = (START_MS + HOUR, START_MS + 5 * HOUR), (START_MS + HOUR, START_MS + 10 * HOUR)
    assert funding_note("linear", [rate], {"BTCUSDT": short}, left_out=False).unknown == ()
    assert funding_note("linear", [], {"BTCUSDT": short}, left_out=False).unknown == ("BTCUSDT",)
    assert funding_note("linear", [rate], {"BTCUSDT": long}, left_out=False).unknown == ("BTCUSDT",)
