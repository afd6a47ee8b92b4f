import gzip
import math
import random
from decimal import Decimal
from pathlib import Path

import pytest
from msgspec.structs import replace

from bot.cli import main
from bot.market import Bar
from bot.sessions.assembly import load_strategy
from bot.sources.bar_rows import HEADER
from bot.sources.csv_bars import read_bars
from bot.synthetic import PRESETS, SyntheticMarket
from bot.trading.events import Step
from strategies import STRATEGIES
from tests.books import audit, rows
from tests.core import a_config, a_trader, merged, run
from tests.eager import Eager

DATA = Path(__file__).parents[2] / "shared/data"
REAL = [DATA / f"{symbol}_binance-perp_1h_{since}_20240229.csv.gz" for symbol, since in (
    ("BTCUSDT", "20190908"), ("ETHUSDT", "20191127"),
)]  # fmt: skip
needs_data = pytest.mark.skipif(
    not all(path.exists() for path in REAL), reason="the shared market data are not beside this checkout"
)
MARKET = SyntheticMarket(PRESETS["demo"], 3, "15")


def generated(count: int) -> list[Bar]:
    return merged(*(MARKET.bars(symbol, 0, count) for symbol in ("BTCUSDT", "ETHUSDT")))


def real(count: int) -> list[Bar]:
    """The first bars that both symbols have."""
    feeds = [read_bars(path) for path in REAL]
    first = max(feed[0].start_ms for feed in feeds)
    return merged(*([bar for bar in feed if bar.start_ms >= first][:count] for feed in feeds))


def garbage(bars: list[Bar], seed: int) -> list[Bar]:
    """Other prices and volumes, off by anything up to a factor of a thousand."""
    draws = random.Random(seed)
    poisoned = []
    for bar in bars:
        low, open_, close, high = sorted(
            Decimal(str(round(float(bar.close) * 10 ** draws.uniform(-3, 3), 4))) for _ in range(4)
        )
        volume = Decimal(draws.randrange(10**6))
        poisoned.append(replace(bar, open=open_, high=high, low=low, close=close, volume=volume))
    return poisoned


def thinned(bars: list[Bar], seed: int) -> list[Bar]:
    """Half of the bars missing."""
    draws = random.Random(seed)
    return [bar for bar in bars if draws.random() < 0.5]


def without_the_other(bars: list[Bar], seed: int) -> list[Bar]:
    """One symbol's bars gone, the other's as wild as they can be."""
    return garbage([bar for bar in bars if bar.symbol == ("BTCUSDT", "ETHUSDT")[seed % 2]], seed)


def decided(bars: list[Bar], name: str, interval: str) -> list[Step]:
    """All Steps of the core over these bars. A small memory, so that moments are evicted as well."""
    config = a_config(run={"interval": interval}, memory={"size": 700}, risk={"require_contiguous_bars": 0})
    config = replace(config, strategy=replace(config.strategy, name=name))
    strategy = Eager(config.strategy) if name == "eager" else load_strategy(config, STRATEGIES)
    return run(a_trader(config, strategy), bars)


def poison_changes_nothing_before(bars: list[Bar], name: str, cuts: list[int]) -> list[Step]:
    interval = bars[0].interval
    truth = decided(bars, name, interval)
    for cut in cuts:
        for number, poison in enumerate((garbage, thinned, without_the_other)):
            future = poison(bars[cut:], cut + number)
            steps = decided(bars[:cut] + future, name, interval)
            assert steps[:cut] == truth[:cut], (cut, poison.__name__)
            # The poison does reach what comes after it.
            assert steps[cut:] != truth[cut:]
    return truth


@pytest.mark.parametrize("name", ["eager", *STRATEGIES])
def test_what_comes_later_changes_no_decision_on_a_generated_market(name):
    bars = generated(900)
    truth = poison_changes_nothing_before(bars, name, [801, 1500])
    assert any(step.fills for step in truth) or name == "historical_similarity"


@needs_data
def test_what_comes_later_changes_no_decision_on_real_bars():
    truth = poison_changes_nothing_before(real(2_000), "eager", [1_203, 3_000])
    assert sum(len(step.fills) for step in truth) > 500
    assert sum(len(step.recollection.neighbors) for step in truth) > 10_000


@needs_data
def test_what_comes_later_changes_no_decision_of_the_strategy_that_ships_on_real_bars():
    truth = poison_changes_nothing_before(real(2_000), "historical_similarity", [2_501])
    assert sum(step.signal.expected_return is not None for step in truth) > 1_000


def test_whatever_is_recalled_was_over_by_then_and_is_what_the_bars_say():
    bars = generated(900)
    closes = {(bar.symbol, bar.start_ms): float(bar.close) for bar in bars}
    horizon_ms = 4 * 15 * 60_000
    recalled = 0
    # Without an exclusion zone only the outcome's own time keeps a moment back.
    for step in run(a_trader(a_config(memory={"exclusion_bars": 1})), bars):
        for neighbor in step.recollection.neighbors:
            end_ms = neighbor.bar_start_ms + horizon_ms
            assert end_ms <= step.bar.start_ms
            before, after = (closes[neighbor.symbol, at] for at in (neighbor.bar_start_ms, end_ms))
            assert neighbor.forward_return == pytest.approx(math.log(after / before), abs=1e-12)
            recalled += 1
    assert recalled > 5_000


@pytest.mark.parametrize("behind", [1, 3, 40, 200])
def test_a_symbol_that_catches_up_recalls_what_it_would_have_recalled_in_time(behind):
    """Late bars meet a memory that holds newer moments; none of these may be seen.

    The symbol is the last of its close: a first one would rightly see what matured at that very close.
    Votes are taken as they stand: what the other symbol's were worth in the meantime is another matter,
    since they were cast without the moments that were missing.
    """
    bars, config = generated(700), a_config(memory={"exclusion_bars": 1, "calibration_bars": 0})
    in_time = {
        (step.bar.symbol, step.bar.start_ms): step for step in run(a_trader(config, quotes=True), bars)
    }
    since_ms = bars[-2 * behind - 200].start_ms
    until_ms = since_ms + behind * 15 * 60_000
    missed = [bar for bar in bars if bar.symbol == "ETHUSDT" and since_ms <= bar.start_ms < until_ms]
    late = [replace(bar, late=True) for bar in missed]
    early = [bar for bar in bars if bar not in missed and bar.start_ms < until_ms]
    steps = run(a_trader(config, quotes=True), [*early, *late])[len(early) :]
    assert len(steps) == behind
    for step in steps:
        assert step.recollection.neighbors
        assert step.recollection == in_time[step.bar.symbol, step.bar.start_ms].recollection
        assert step.signal.action == "hold"


def written(path: Path, bars: list[Bar]) -> Path:
    with gzip.open(path, "wt") as file:
        file.write(",".join(HEADER) + "\n")
        for bar in bars:
            figures = (bar.open, bar.high, bar.low, bar.close, bar.volume)
            file.write(",".join([str(bar.start_ms), *(format(figure, "f") for figure in figures), ""]) + "\n")
    return path


def test_a_backtest_of_files_writes_the_same_rows_up_to_a_time_whatever_the_files_hold_after_it(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.setenv("BOT__STRATEGY__NAME", "tests.eager:Eager")
    monkeypatch.setenv("BOT__STRATEGY__HORIZON_BARS", "4")
    bars = generated(800)
    cut_ms = bars[1_200].start_ms
    tables = {}
    for name in ("truth", "poisoned"):
        arguments = ["backtest", "--warmup", "350", "--db", str(tmp_path / f"{name}.db")]
        # Rules that nobody gives are fitted to the prices of the whole file, and garbage has other digits.
        arguments += ["--instrument", "BTCUSDT:tick_size=0.0001", "--instrument", "ETHUSDT:tick_size=0.0001"]
        for symbol in ("BTCUSDT", "ETHUSDT"):
            mine = [bar for bar in bars if bar.symbol == symbol]
            if name == "poisoned":
                past = [bar for bar in mine if bar.start_ms < cut_ms]
                mine = past + garbage([bar for bar in mine if bar.start_ms >= cut_ms], 5)
            file = written(tmp_path / f"{symbol}_{name}_15m_.csv.gz", mine)
            arguments += ["--data", str(file)]
        assert main(arguments, STRATEGIES) == 0
        audit(tmp_path / f"{name}.db")
        until = f"<= {cut_ms}"
        signals = f"SELECT id FROM signals WHERE decided_ms {until}"
        tables[name] = [
            rows(tmp_path / f"{name}.db", query)
            for query in (
                f"SELECT * FROM signals WHERE decided_ms {until}",
                f"SELECT * FROM neighbors WHERE signal_id IN ({signals}) ORDER BY signal_id, rank",
                f"SELECT id, side, quantity, created_ms FROM orders WHERE signal_id IN ({signals})",
                f"SELECT * FROM fills WHERE time_ms < {cut_ms}",
                f"SELECT * FROM equity WHERE time_ms < {cut_ms}",
            )
        ]
    assert tables["truth"] == tables["poisoned"]
    assert all(len(found) > 100 for found in tables["truth"])
