"""The catalogue of backtests for a person's eye: listed, or side by side."""

from collections.abc import Callable, Sequence
from pathlib import Path

from bot import program
from bot.market import minute_text
from bot.store.runs.catalogue import Run
from bot.terminal.tables import print_table, print_text, print_title

_SHOWN_SETTINGS = 3


def print_runs(runs: Sequence[Run], folder: Path) -> None:
    """Print a row for each run, and the settings that it was made with."""
    if not runs:
        print_text(f"no runs in {folder} yet; {program.name()} backtest makes one")
        return
    print_text(f"{len(runs)} runs in {folder}, oldest first; times are UTC")
    print_table(
        ("name", "strategy", "symbols", "decided", "trades", "return", "max drawdown", "Sharpe", "status"),
        [
            (
                each.name,
                each.strategy,
                f"{', '.join(each.symbols)} {each.interval}",
                f"{each.decided:,}",
                str(each.trades),
                _percent(each.total_return, "+.2%"),
                _percent(each.max_drawdown, ".2%"),
                _sharpe(each),
                each.status if each.halted is None else f"{each.status}, halted",
            )
            for each in runs
        ],
    )
    for each in runs:
        if each.settings:
            shown = [f"{key} = {value}" for key, value in each.settings.items()]
            more = f", and {len(shown) - _SHOWN_SETTINGS} more" if len(shown) > _SHOWN_SETTINGS else ""
            print_text(f"{each.name}: {', '.join(shown[:_SHOWN_SETTINGS])}{more}")


def print_comparison(runs: Sequence[Run]) -> None:
    """Print figures side by side, each beside its distance from the first run's, and settings that differ."""
    first = runs[0]
    print_title("runs")
    rows: list[tuple[str, Callable[[Run], str]]] = [
        ("strategy", lambda each: each.strategy),
        ("symbols", lambda each: f"{', '.join(each.symbols)} {each.interval}"),
        ("bars from", lambda each: each.data),
        ("first decision", lambda each: "-" if each.first_ms is None else minute_text(each.first_ms)),
        ("last decision", lambda each: "-" if each.last_ms is None else minute_text(each.last_ms)),
        ("bars observed", lambda each: f"{each.observed:,}"),
        ("bars decided", lambda each: f"{each.decided:,}"),
        ("fills", lambda each: f"{each.fills:,}"),
        ("trades", lambda each: _beside(each.trades, first.trades, each is first, ",d", "+,d")),
        (
            "return",
            lambda each: _beside(each.total_return, first.total_return, each is first, "+.2%", "+.2%"),
        ),
        (
            "max drawdown",
            lambda each: _beside(each.max_drawdown, first.max_drawdown, each is first, ".2%", "+.2%"),
        ),
        ("Sharpe (annualized)", _sharpe),
        ("status", lambda each: each.status),
        ("halted", lambda each: each.halted or "no"),
    ]
    print_table(
        ("", *(each.name for each in runs)),
        [(title, *(text(each) for each in runs)) for title, text in rows],
    )
    same = all(each.bars_sha256 == first.bars_sha256 for each in runs)
    print_text("the same bars" if same else "NOT THE SAME BARS: figures differ by the market as well")
    keys = sorted({key for each in runs for key in each.settings})
    differing = [key for key in keys if len({repr(each.settings.get(key)) for each in runs}) > 1]
    if differing:
        print_title("settings that differ")
        print_table(
            ("", *(each.name for each in runs)),
            [(key, *(str(each.settings.get(key, "default")) for each in runs)) for key in differing],
        )


def _beside(value: float | None, first: float | None, is_first: bool, form: str, difference: str) -> str:
    """A figure, and how far it is from the first run's."""
    if value is None:
        return "-"
    text = format(value, form)
    return text if is_first or first is None else f"{text} ({value - first:{difference}})"


def _percent(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def _sharpe(each: Run) -> str:
    if each.sharpe is None or each.sharpe_error is None:
        return "-"
    return f"{each.sharpe:+.2f} ± {each.sharpe_error:.2f}"
