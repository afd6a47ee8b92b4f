"""The bot from Python: the rows of the command, frames that say what they are, and nothing that nobody asked for."""

import asyncio
import json
import subprocess
import sys
import time
from decimal import Decimal
from pathlib import Path

import pytest

import bot
from bot.cli import main
from bot.errors import ConfigError, InputError, StrategyError
from bot.strategy import Signal, Situation, StrategyConfig
from tests.api import waves
from tests.bot_process import QUICK, start
from tests.eager import ALLOWED

ROWS = (
    "instruments",
    "bars",
    "signals",
    "orders",
    "fills",
    "funding",
    "positions",
    "equity",
    "round_trips",
    "funding_rates",
)


class BuysOnce:
    """Long at the first close it is asked on, whatever it shows."""

    needs_memory = False

    def __init__(self, config: StrategyConfig) -> None:
        self._size = float(config.options.get("size", 0.5))

    def decide(self, situation: Situation) -> Signal:
        if situation.position.quantity:
            return Signal(action="hold", reason="it is held")
        return Signal(action="long", reason=f"size {self._size}", confidence=0.9)


class Raises(BuysOnce):
    def decide(self, situation: Situation) -> Signal:
        raise ValueError("on purpose")


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def file(folder) -> Path:
    return waves.write(folder)


def everything(run: bot.Session) -> dict[str, list[tuple[object, ...]]]:
    """All rows of what a run did, with the digits that are stored."""
    return {table: list(run.frame(table, exact=True).astype(object).itertuples(name=None)) for table in ROWS}


def equal(one: object, other: object) -> bool:
    return str(one) == str(other)


def command(*options: str) -> bot.Session:
    assert main(["backtest", *options, "--db", "command.db", "--json"], ALLOWED) == 0
    return bot.open_log("command.db")


def test_a_backtest_in_python_gives_the_rows_of_the_command(file, folder, capsys):
    funding = waves.write_funding(folder)
    settings = {"risk.max_position_fraction": 0.3}
    run = bot.backtest(
        file,
        "moving_average_cross",
        fast=3,
        slow=9,
        funding=funding,
        fills="pessimistic",
        starting_cash=5_000,
        since="2024-01-20",
        warmup=200,
        settings=settings,
    )
    Path("config.toml").write_text(
        '[strategy]\nname = "moving_average_cross"\noptions = { fast = 3, slow = 9 }\n'
        "[broker]\nstarting_cash = 5000\n[risk]\nmax_position_fraction = 0.3\n"
    )
    made = command(
        *("--data", str(file), "--funding", str(funding), "--fills", "pessimistic"),
        *("--from", "2024-01-20", "--warmup", "200"),
    )
    capsys.readouterr()
    ours, theirs = everything(run), everything(made)
    assert len(ours["fills"]) > 5
    assert len(ours["funding"]) > 5
    for table in ROWS:
        assert equal(ours[table], theirs[table]), table


def test_a_frame_of_bars_gives_the_rows_of_its_file(file):
    bars = bot.read_bars(file)
    again = bot.read_bars(bars.frame())
    assert [bar.close for bar in bars] == [bar.close for bar in again]
    runs = [bot.backtest(source, "moving_average_cross") for source in (bars, again)]
    for table in ("fills", "equity", "round_trips"):
        one, other = (run.frame(table, exact=True) for run in runs)
        assert one.equals(other)  # values, for a float's trailing zeros are lost


def test_several_symbols_share_one_account(file, folder):
    other = waves.write(folder, "ETHUSDT_waves_1h.csv", phase=1.0)
    run = bot.backtest([file, other], "moving_average_cross")
    assert set(run.fills.symbol) == {"BTCUSDT", "ETHUSDT"}
    assert run.summary.symbols == ("BTCUSDT", "ETHUSDT")
    named = bot.backtest({"BTCUSDT": file, "ETHUSDT": bot.read_bars(other).frame()}, "moving_average_cross")
    assert equal(
        named.frame("equity", exact=True).cash.iloc[-1], run.frame("equity", exact=True).cash.iloc[-1]
    )


def test_a_class_of_ones_own_is_run_with_its_options(file):
    run = bot.backtest(
        file, BuysOnce, size=0.25, instruments={"BTCUSDT": {"tick_size": "0.01", "lot_size": "1"}}
    )
    assert set(run.decisions.reason) == {"size 0.25", "it is held"}
    assert run.summary.strategy.endswith(":BuysOnce")
    assert (run.fills.quantity % 1 == 0).all()


def test_rates_of_a_frame_are_charged_and_none_where_none_are_wanted(file, folder):
    import pandas

    rates = pandas.read_csv(waves.write_funding(folder), dtype={"rate": str})
    paid = bot.backtest(file, BuysOnce, funding=rates)
    read = bot.backtest(file, BuysOnce, funding=folder / "BTCUSDT_waves_funding.csv")
    assert len(paid.funding) > 10
    assert equal(everything(paid)["funding"], everything(read)["funding"])
    without = bot.backtest(file, BuysOnce, funding=False)
    assert without.funding.empty
    assert any("left out" in note for note in without.summary.notes)


def test_frames_are_utc_float64_and_exact_where_asked(file):
    run = bot.backtest(file, "moving_average_cross")
    assert str(run.equity.index.dtype) == "datetime64[ms, UTC]"
    assert str(run.fills.price.dtype) == "float64"
    assert isinstance(run.frame("fills", exact=True).price.iloc[0], Decimal)
    assert str(run.orders.created.dtype) == "datetime64[ms, UTC]"
    assert run.trades.equals(run.round_trips)
    assert run.explain(run.decisions.index[0]).id == 1
    assert run.explain().id == run.decisions.index[-1]


def test_it_works_inside_a_running_event_loop(file):
    async def notebook() -> int:
        return len(bot.backtest(file, "moving_average_cross").equity)

    assert asyncio.run(notebook()) > 600


def test_nothing_is_printed_and_nothing_is_left_behind(file, folder, capfd):
    done: list[tuple[str, int, int]] = []
    before = sorted(folder.iterdir())
    run = bot.backtest(file, "moving_average_cross", progress=lambda *told: done.append(told))
    run.summary, run.funnel, run.explain(), repr(run), run._repr_html_()
    assert done[-1] == ("backtest", 1200, 1200)
    assert sorted(folder.iterdir()) == before
    place = run.path
    del run
    assert not place.exists()
    assert capfd.readouterr() == ("", "")


def test_what_is_saved_is_in_the_catalogue_with_its_trial(file, capsys):
    run = bot.backtest(file, "moving_average_cross", fast=3, slow=9)
    path = run.save("first")
    assert everything(bot.open_log(path)).keys() == everything(run).keys()
    with pytest.raises(InputError, match="first"):
        run.save("first")
    assert main(["runs", "--json"], ALLOWED) == 0
    (row,) = json.loads(capsys.readouterr().out)["runs"]
    assert (row["name"], row["status"], row["fills"]) == ("first", "finished", len(run.fills))
    assert main(["report", "--run", "first", "--json"], ALLOWED) == 0
    assert json.loads(capsys.readouterr().out)["trials"] == 1
    with pytest.raises(InputError, match="kept already"):
        bot.open_log(path).save("second")


def test_a_report_is_one_html_file_with_charts(file, folder):
    run = bot.backtest(file, "moving_average_cross")
    assert run.report("run.html").performance.fills == len(run.fills)
    page = (folder / "run.html").read_text()
    assert page.count("<svg") == 2
    assert "http" not in page.replace("http://www.w3.org", "")
    assert "<svg" in run._repr_html_()


def test_what_the_memory_says_is_what_a_backtest_decides_on(file):
    settings = {"memory.size": 500}
    said = bot.recall(file, warmup=600, settings=settings)
    run = bot.backtest(file, warmup=600, settings=settings)
    assert list(said.index) == list(run.decisions.bar_start)
    assert said.positive_ratio.to_numpy() == pytest.approx(
        run.decisions.positive_ratio.to_numpy(), nan_ok=True
    )
    assert list(said.neighbors) == [
        int((run.neighbors.index.get_level_values(0) == n).sum()) for n in run.decisions.index
    ]


def test_a_user_s_mistake_is_one_line(file, folder):
    rows = bot.read_bars(file).frame()
    rows.iloc[3, rows.columns.get_loc("high")] = 1.0
    mistakes = [
        (InputError, "row 3", lambda: bot.read_bars(rows)),
        (InputError, "symbol", lambda: bot.read_bars(rows.reset_index().assign())),
        (InputError, "no column close", lambda: bot.read_bars(rows.drop(columns="close"), "BTCUSDT")),
        (InputError, "No such file", lambda: bot.read_bars("BTCUSDT_none_1h.csv")),
        (InputError, "no history", lambda: bot.history("BTCUSDT", "60")),
        (InputError, "no database", lambda: bot.open_log("none.db")),
        (InputError, "--instrument|BTCUSDT", lambda: bot.backtest(file, BuysOnce, instruments={"XUSDT": {}})),
        (ConfigError, "broker.starting_cash", lambda: bot.backtest(file, BuysOnce, starting_cash="a lot")),
        (ConfigError, "risk.nothing", lambda: bot.backtest(file, BuysOnce, settings={"risk.nothing": 1})),
        (ConfigError, "none of", lambda: bot.backtest(file, "nothing")),
        (StrategyError, "on purpose", lambda: bot.backtest(file, Raises)),
        (InputError, "given twice", lambda: bot.backtest([file, file], BuysOnce)),
    ]
    rows.attrs = {"symbol": "BTCUSDT"}
    for kind, words, make in mistakes:
        if words == "symbol":
            rows.attrs = {}
        with pytest.raises(kind, match=words) as raised:
            make()
        assert "\n" not in str(raised.value)
        rows.attrs = {"symbol": "BTCUSDT"}


def test_importing_the_package_is_light():
    code = (
        "import sys, time\nbegan = time.perf_counter()\nimport bot\nseconds = time.perf_counter() - began\n"
        "heavy = {'torch', 'faiss', 'numba', 'numpy', 'pandas', 'ccxt', 'asyncio'} & sys.modules.keys()\n"
        "assert not heavy, heavy\n"
        "assert 'backtest' in dir(bot)\nbot.read_bars\n"
        "assert not {'torch', 'pandas', 'ccxt'} & sys.modules.keys()\nprint(seconds)"
    )
    root = Path(bot.__file__).parents[1]

    def seconds() -> float:
        told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root)
        assert told.returncode == 0, told.stderr
        return float(told.stdout)

    assert min(seconds() for _ in range(3)) < 0.15


def test_a_log_reads_beside_a_bot_that_writes(folder):
    (folder / "config.toml").write_text(QUICK)
    with start(folder, "--demo", "--max-bars", "400") as process:
        deadline = time.monotonic() + 60
        found: list[int] = []
        while process.poll() is None and len(set(found)) < 3:
            assert time.monotonic() < deadline
            time.sleep(0.05)
            try:
                log = bot.open_log("demo.db")
                found.append(len(log.equity))
            except InputError:
                continue  # it has not begun
            if found[-1]:
                assert log.summary.decisions <= len(log.decisions)
                assert log.explain(log.decisions.index[-1]).symbol in log.summary.symbols
        process.terminate()
        process.communicate(timeout=30)
    assert len(set(found)) >= 3
    ended = bot.open_log("demo.db")
    assert ended.summary.mode == "demo"
    assert len(bot.open_log("demo.db", session=1).fills) == len(ended.fills)
    with pytest.raises(InputError, match="no session 9"):
        bot.open_log("demo.db", session=9)
    (recording,) = (folder / "var" / "recordings").iterdir()
    assert main(["replay", str(recording), "--db", "replay.db"], ALLOWED) == 0
    replayed = bot.open_log("replay.db")
    assert replayed.frame("fills", exact=True).equals(ended.frame("fills", exact=True))
