import asyncio
import gzip
import json
from decimal import Decimal
from pathlib import Path

import pytest

from bot.cli import main
from bot.market import FundingRate, plain
from bot.store.database import Database
from bot.store.history.market import Market, insert_rates
from bot.store.history.schema import HISTORY
from bot.store.runs.schema import INDEX
from bot.strategy import Situation, StrategyConfig
from bot.trading.events import Action, Signal
from strategies import STRATEGIES
from tests.books import rows
from tests.model.walks import walk


class AlwaysLong:
    """Remembers, and cares for nothing."""

    needs_memory = True

    def __init__(self, config: StrategyConfig) -> None:
        pass

    def decide(self, situation: Situation) -> Signal:
        action: Action = "hold" if situation.position.quantity else "long"
        return Signal(action=action, reason="always", horizon_bars=24)


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def a_file(folder: Path, bars: int = 3_000, symbol: str = "BTCUSDT") -> str:
    path = folder / f"{symbol}_walk_15m.csv.gz"
    rows = [
        f"{bar.start_ms},{','.join(plain(Decimal(x)) for x in (bar.open, bar.high, bar.low, bar.close))},1,"
        for bar in walk(bars, symbol=symbol)
    ]
    path.write_bytes(
        gzip.compress("\n".join(["start_ms,open,high,low,close,volume,turnover", *rows, ""]).encode())
    )
    return str(path)


def refused(capsys, *arguments: str) -> str:
    assert main(["evaluate", *arguments], STRATEGIES) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    return told


def evaluated(capsys, *arguments: str) -> dict:
    assert main(list(arguments), STRATEGIES) == 0
    return json.loads(capsys.readouterr().out)["report"]


def test_bars_are_judged_beside_all_baselines(elsewhere, capsys):
    assert (
        main(["evaluate", "--data", a_file(elsewhere), "--quick", "--every", "25", "--json"], STRATEGIES) == 0
    )
    told = json.loads(capsys.readouterr().out)
    report = told["report"]
    # These are of another interval than those that the shipped encoder has seen.
    (unfunded,) = report["warnings"]
    assert unfunded.startswith("no funding rates known for BTCUSDT over these bars")
    methods = {each["method"] for each in report["skill"]}
    assert {"momentum", "reversal", "random", "raw-window kNN", "price-path kNN", "ridge"} < methods
    assert {"memory's vote", "memory's vote, frozen", "memory's vote, shuffled outcomes"} < methods
    assert {each["horizon_bars"] for each in report["skill"]} == {1, 4, 24}
    assert {"the bot", "BTCUSDT flat", "BTCUSDT buy and hold"} < {each["name"] for each in report["earnings"]}
    honest, leaked = (
        next(e["ic"]["value"] for e in report["skill"] if e["method"] == method and e["horizon_bars"] == 24)
        for method in ("price-path kNN", "LEAK: outcome known at once")
    )
    # On a random walk whatever is more than chance is a leak.
    assert leaked > honest + 0.1
    assert report["signals"]["bars"] == 1_800
    folder = elsewhere / "build/evaluation"
    assert json.loads((folder / "report.json").read_text()) == told
    page = (folder / "report.md").read_text()
    assert "| BTCUSDT | 3,000 | 0 |" in page
    for chart in ("ic-BTCUSDT.svg", "memory-size.svg", "calibration.svg"):
        assert f"({chart})" in page
        assert (folder / chart).read_text().startswith("<svg")


def test_odds_that_cannot_be_fitted_are_left_out_with_the_reason(elsewhere, capsys):
    arguments = ["evaluate", "--data", a_file(elsewhere, 2_000), "--quick", "--every", "25", "--json"]
    assert main([*arguments, "--odds"], STRATEGIES) == 0
    report = json.loads(capsys.readouterr().out)["report"]
    assert any(why.startswith("odds of BTCUSDT: odds need 3,456 moments") for why in report["left_out"])
    assert not any("odds" in each["method"] for each in report["density"])
    # The shipped odds have learned from outcomes before 2022; these bars are later.
    assert not any("odds" in warning for warning in report["warnings"])


def test_bars_whose_outcomes_the_bots_own_odds_have_seen_are_told(elsewhere, capsys):
    file = Path(a_file(elsewhere, 2_000))
    earlier = 3 * 366 * 86_400_000
    header, *rows = gzip.decompress(file.read_bytes()).decode().splitlines()
    moved = [f"{int(row.split(',', 1)[0]) - earlier},{row.split(',', 1)[1]}" for row in rows]
    file.write_bytes(gzip.compress("\n".join([header, *moved, ""]).encode()))
    arguments = ["evaluate", "--data", str(file), "--quick", "--every", "25", "--json"]
    assert main(arguments, STRATEGIES) == 0
    warnings = json.loads(capsys.readouterr().out)["report"]["warnings"]
    assert any(
        warning.startswith("the bot's own odds have learned from outcomes until") for warning in warnings
    )


def test_bars_whose_shapes_the_encoder_has_seen_are_not_judged_without_saying_so(elsewhere, capsys):
    hour_ms, seen_ms = 3_600_000, 1_577_836_800_000  # 2020, within what the shipped encoder was trained on
    rows = [
        f"{seen_ms + i * hour_ms},{bar.open},{bar.high},{bar.low},{bar.close},1,"
        for i, bar in enumerate(walk(2_000))
    ]
    file = elsewhere / "BTCUSDT_walk_1h.csv"
    file.write_text("\n".join(["start_ms,open,high,low,close,volume,turnover", *rows, ""]))
    assert main(["evaluate", "--data", str(file), "--quick", "--every", "100", "--json"], STRATEGIES) == 0
    warnings = json.loads(capsys.readouterr().out)["report"]["warnings"]
    assert any("has seen the shapes of BTCUSDT bars" in warning for warning in warnings)


def test_each_configuration_tried_on_the_same_bars_is_a_trial_once(elsewhere, capsys, monkeypatch):
    file = a_file(elsewhere, 2_000)
    # A run that is deleted was tried all the same.
    for neighbors in ("24", "16"):
        monkeypatch.setenv("BOT__MEMORY__NEIGHBORS", neighbors)
        assert main(["backtest", "--data", file, "--warmup", "1500", "--name", neighbors], STRATEGIES) == 0
    assert main(["runs", "--delete", "24"], STRATEGIES) == 0
    capsys.readouterr()
    trials = []
    for neighbors in ("32", "16", "32"):
        monkeypatch.setenv("BOT__MEMORY__NEIGHBORS", neighbors)
        arguments = ["evaluate", "--data", file, "--quick", "--every", "25", "--json"]
        trials.append(evaluated(capsys, *arguments)["protocol"]["trials"])
    assert trials == [3, 3, 3]
    noted = rows(elsewhere / "var/runs/index.db", "SELECT * FROM trials ORDER BY id")
    assert [row["command"] for row in noted] == ["backtest"] * 2 + ["evaluate"] * 3
    names = [row["configuration"] for row in noted]
    assert len(set(names)) == 3
    assert (names[1], names[2]) == (names[3], names[4])
    bars = walk(2_000)
    for row, first in zip(noted, [1500, 1500, 800, 800, 800], strict=True):
        assert (row["symbols"], row["interval"]) == ('["BTCUSDT"]', "15")
        assert (row["first_ms"], row["last_ms"]) == (bars[first].start_ms, bars[-1].start_ms)
    assert main(["report", "--run", "16", "--json"], STRATEGIES) == 0
    assert json.loads(capsys.readouterr().out)["trials"] == 3


def test_stored_bars_are_evaluated_while_somebody_writes_to_the_index(elsewhere, capsys):
    file = a_file(elsewhere, 2_000)
    assert main(["import", file], STRATEGIES) == 0
    capsys.readouterr()

    async def judged_meanwhile() -> None:
        async with Database.open("var/runs/index.db", kind=INDEX):
            arguments = ["evaluate", "--symbols", "BTCUSDT", "--interval", "15", "--quick", "--every", "100"]
            assert await asyncio.to_thread(main, arguments, STRATEGIES) == 0

    asyncio.run(judged_meanwhile())
    assert rows("var/runs/index.db", "SELECT command FROM trials") == [{"command": "evaluate"}]


def test_bot_and_rules_pay_the_funding_of_a_file(elsewhere, capsys, monkeypatch):
    monkeypatch.setenv("BOT__STRATEGY__NAME", f"{__name__}:AlwaysLong")
    bars = walk(2_000)
    settled = [f"{bar.start_ms},0.0001" for bar in bars if bar.start_ms % 28_800_000 == 0]
    Path("BTCUSDT_walk_funding.csv").write_text("\n".join(["time_ms,rate", *settled, ""]))
    arguments = ["evaluate", "--data", a_file(elsewhere, 2_000), "--quick", "--every", "100", "--json"]
    free, charged = (
        {each["name"]: each for each in report["earnings"]}
        for report in (
            evaluated(capsys, *arguments, *more) for more in ([], ["--funding", "BTCUSDT_walk_funding.csv"])
        )
    )
    # Of 2,000 quarters of an hour 1,200 are judged: 37 settlements (the fixture's bars begin at midnight, and
    # 800 is a settlement's bar, at which nothing is held yet), each on about a fifth of the account.
    for name in ("the bot", "BTCUSDT buy and hold"):
        assert free[name]["funding"] == 0
        assert charged[name]["funding"] == pytest.approx(-37 * 0.0001 * 0.2, rel=0.15)
        assert charged[name]["net_return"] == pytest.approx(
            free[name]["net_return"] + charged[name]["funding"], abs=3e-5
        )
    assert charged["BTCUSDT flat"]["funding"] == 0
    assert "and the funding of BTCUSDT" in (elsewhere / "build/evaluation/report.md").read_text()


def test_the_rates_stored_beside_bars_are_charged_unless_a_person_leaves_them_out(
    elsewhere, capsys, monkeypatch
):
    monkeypatch.setenv("BOT__STRATEGY__NAME", f"{__name__}:AlwaysLong")
    assert main(["import", a_file(elsewhere, 2_000)], STRATEGIES) == 0
    capsys.readouterr()
    settled = [bar.start_ms for bar in walk(2_000) if bar.start_ms % 28_800_000 == 0]
    rates = [FundingRate(symbol="BTCUSDT", time_ms=time_ms, rate=Decimal("0.0001")) for time_ms in settled]

    async def store() -> None:
        async with Database.open("var/history.db", kind=HISTORY) as history, history.transaction():
            await insert_rates(history, Market("walk", "linear"), rates[:-5])

    asyncio.run(store())
    arguments = [
        "evaluate",
        "--symbols",
        "BTCUSDT",
        "--interval",
        "15",
        "--quick",
        "--every",
        "100",
        "--json",
    ]
    charged = evaluated(capsys, *arguments)
    assert charged["funded"] == ["BTCUSDT"]
    assert charged["earnings"][0]["funding"] == pytest.approx(-32 * 0.0001 * 0.2, rel=0.15)
    assert any("5 settlements have no known rate" in warning for warning in charged["warnings"])
    free = evaluated(capsys, *arguments, "--no-funding")
    assert (free["funded"], free["earnings"][0]["funding"]) == ([], 0)
    assert any(warning.startswith("--no-funding") for warning in free["warnings"])


def test_generated_markets_are_judged_against_their_truth(elsewhere, capsys):
    arguments = ["evaluate", "--market", "few", "--seeds", "11", "--market-bars", "9000", "--out", "here"]
    assert main([*arguments, "--quick"], STRATEGIES) == 0
    assert "retrieval ceiling" in capsys.readouterr().out
    report = json.loads((elsewhere / "here/market-few-report.json").read_text())["report"]
    assert report["study"]["seeds"] == [11]
    assert {"oracle: knows which motif ended", "plain windows, online"} < set(report["seeds"][0]["scores"])
    assert "share of ceiling" in (elsewhere / "here/market-few-report.md").read_text()


def test_the_whole_bot_trades_on_a_generated_market(elsewhere, capsys):
    arguments = ["evaluate", "--market", "none", "--seeds", "3", "--market-bars", "4000", "--json"]
    assert main(arguments, STRATEGIES) == 0
    seed = json.loads(capsys.readouterr().out)["report"]["seeds"][0]
    assert seed["signalled"] is not None
    assert seed["earnings"]["name"] == "the bot"


def test_too_few_bars_are_named(elsewhere, capsys):
    assert "BTCUSDT has 1500 bars" in refused(capsys, "--data", a_file(elsewhere, 1_500))


def test_options_that_do_not_go_together_are_refused(elsewhere, capsys):
    file = a_file(elsewhere)
    assert "leave out --data" in refused(capsys, "--market", "few", "--data", file)
    assert "--seeds belongs to --market" in refused(capsys, "--data", file, "--seeds", "1")
    assert "11-18 or 11,12" in refused(capsys, "--market", "few", "--seeds", "18-11")
    assert "there is no history at var/history.db yet" in refused(capsys)


def test_a_strategy_without_a_memory_is_not_evaluated(elsewhere, capsys, monkeypatch):
    monkeypatch.setenv("BOT__STRATEGY__NAME", "buy_and_hold")
    assert main(["evaluate", "--data", a_file(elsewhere, 600), "--quick"], STRATEGIES) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "buy_and_hold asks for none" in error
