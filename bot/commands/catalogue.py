"""``runs``: the catalogue of backtests: listed, compared, deleted."""

from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
from msgspec import Struct

from bot import program
from bot.commands.runs import Options
from bot.config import Config
from bot.errors import InputError
from bot.market import minute_text
from bot.store.believed import readable
from bot.store.database import Database, discard
from bot.store.runs.catalogue import INDEX_NAME, Run, check_name, forget_run, load_runs, run_path
from bot.store.runs.schema import INDEX
from bot.terminal.tables import print_table, print_text, print_title

OK = 0

_SHOWN_SETTINGS = 3


class Runs(Struct, frozen=True, kw_only=True):
    """What ``runs --json`` prints."""

    version: int = 1
    folder: str
    runs: tuple[Run, ...]


async def run(options: Options, config: Config) -> int:
    """List, compare or delete the runs of ``run.runs``."""
    with readable(config.runs_path / INDEX_NAME):
        return await _run(options, config.runs_path)


async def _run(options: Options, folder: Path) -> int:
    if options.delete is not None:
        await _delete(folder, options.delete)
        return OK
    runs = await known_runs(folder)
    if options.compare is not None:
        runs = _named(runs, options.compare, folder)
    if options.json:
        print(msgspec.json.encode(Runs(folder=str(folder), runs=tuple(runs))).decode())
    elif options.compare is not None:
        _print_comparison(runs)
    elif not runs:
        print(f"no runs in {folder} yet; {program.name()} backtest makes one")
    else:
        _print_runs(runs, folder)
    return OK


async def known_runs(folder: Path) -> list[Run]:
    """All runs that the folder's index knows, oldest first."""
    index_path = folder / INDEX_NAME
    if not index_path.exists():
        return []
    async with Database.open(index_path, kind=INDEX, readonly=True) as index:
        return await load_runs(index)


def _named(runs: Sequence[Run], names: Sequence[str], folder: Path) -> list[Run]:
    if len(names) < 2:
        raise InputError(f"--compare: name at least two runs; {program.name()} runs lists them")
    by_name = {each.name: each for each in runs}
    for name in names:
        if name not in by_name:
            raise InputError(
                f"--compare: there is no run {name} in {folder}; {program.name()} runs lists them"
            )
    return [by_name[name] for name in names]


async def _delete(folder: Path, name: str) -> None:
    path = run_path(folder, check_name(name))
    known = name in {each.name for each in await known_runs(folder)}
    if not known and not path.exists():
        raise InputError(f"--delete: there is no run {name} in {folder}; {program.name()} runs lists them")
    # Refuses what is no backtest, and one that is being written.
    await discard(path, "backtest")
    if known:
        async with Database.open(folder / INDEX_NAME, kind=INDEX) as index:
            await forget_run(index, name)
    print(f"deleted run {name}")


def _print_runs(runs: Sequence[Run], folder: Path) -> None:
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


def _print_comparison(runs: Sequence[Run]) -> None:
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
