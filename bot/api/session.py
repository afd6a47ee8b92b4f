"""Session: a run, or a whole account, read back from its database as frames."""

import shutil
import tempfile
from collections.abc import Awaitable, Callable
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from msgspec.structs import replace

from bot.api.decision import Decision
from bot.api.shown import value_chart
from bot.api.summary import Summary, summary_of
from bot.api.waiting import wait_for
from bot.errors import InputError
from bot.frames.tables import frame_of, table_frame
from bot.reports.account import Report, load_report
from bot.sessions import session
from bot.store.account.decisions import load_explanation
from bot.store.account.exported import read_table
from bot.store.account.funnel import read_funnels
from bot.store.believed import readable
from bot.store.database import Database
from bot.store.runs.catalogue import INDEX_NAME, check_name, index_beside, load_runs, run_path, save_run
from bot.store.runs.schema import INDEX
from bot.store.runs.trials import copy_trials

if TYPE_CHECKING:
    from pandas import DataFrame

T = TypeVar("T")

_OF_SESSION = {
    "sessions": "id = ?",
    "neighbors": "signal_id IN (SELECT id FROM signals WHERE session_id = ?)",
}
_OF_NONE = ("instruments", "bars", "positions", "requests", "funding_rates", "trials", "trade_log")
_ORDER = {
    "equity": "id",
    "bars": "symbol, start_ms",
    "neighbors": "signal_id, rank",
    "funding": "time_ms, symbol",
}


class Session:
    """What one session, or a whole account, decided and traded. It reads only, and each question reads afresh.

    ``bot.frames.columns.COLUMNS`` says what each column is: times are UTC timestamps, prices and amounts float64.
    ``frame(table, exact=True)`` gives any table with :class:`~decimal.Decimal` values.
    """

    def __init__(
        self,
        path: Path,
        session_id: int | None = None,
        *,
        kept: tempfile.TemporaryDirectory[str] | None = None,
        ended: session.Summary | None = None,
        runs: Path | None = None,
    ) -> None:
        self.path = path
        self.session_id = session_id
        # A backtest's files last as long as this does.
        self._kept = kept
        self._ended = ended
        self._runs = runs

    @property
    def summary(self) -> Summary:
        """Return, drawdown, ratios, trades and costs; attributes, and a table where it is shown.

        >>> run.summary.decisions, run.summary.fills == len(run.fills)
        (600, True)
        """
        return summary_of(self.report(), self._ended)

    @property
    def equity(self) -> "DataFrame":
        """A row for each closed bar, fill, funding payment and transfer, by ``time``: cash, equity, unit_value ..

        >>> run.equity[["cash", "equity"]].iloc[0].tolist()
        [10000.0, 10000.0]
        """
        return self.frame("equity")

    @property
    def round_trips(self) -> "DataFrame":
        """A row for each position from entry to flat, the open ones too: ``net``, ``adverse``, ``exit_reason`` ..

        >>> bool((run.trades.query("net < 0").net < 0).all())
        True
        """
        return self.frame("round_trips")

    trades = round_trips

    @property
    def decisions(self) -> "DataFrame":
        """A row for each bar decided on, by its number: ``action``, ``confidence``, ``reason`` ..

        >>> sorted(run.decisions.action.unique())
        ['long', 'short']
        """
        return self.frame("signals")

    @property
    def orders(self) -> "DataFrame":
        """Every order as it stands, also rejected ones, by number."""
        return self.frame("orders")

    @property
    def fills(self) -> "DataFrame":
        """Every fill, by number.

        >>> bool(abs(run.fills.fee.sum() - run.summary.fees) < 1e-9)
        True
        """
        return self.frame("fills")

    @property
    def funding(self) -> "DataFrame":
        """Every funding payment, by ``time``; positive is received."""
        return self.frame("funding")

    @property
    def neighbors(self) -> "DataFrame":
        """The moments that each decision recalled, by ``signal_id`` and ``rank``."""
        return self.frame("neighbors")

    @property
    def funnel(self) -> "DataFrame":
        """From all decisions to round trips: how many came how far, and what stopped most of the others.

        >>> run.funnel["count"].to_dict()["decisions"]
        600
        """

        async def read(database: Database) -> "DataFrame":
            total = (await read_funnels(database, self.session_id)).total
            columns: dict[str, list[Any]] = {
                "step": [step.name for step in total.steps],
                "label": [step.label for step in total.steps],
                "count": [step.count for step in total.steps],
                "stopped": [step.lost for step in total.steps],
                "mostly": [step.stops[0].words if step.stops else "" for step in total.steps],
            }
            return frame_of(columns, index=("step",))

        return self._read(read)

    def frame(self, table: str, *, exact: bool = False) -> "DataFrame":
        """Any table of the database (``bars``, ``events``, ``halts`` ..), ``exact`` with Decimals.

        >>> type(run.frame("fills", exact=True).price.iloc[0]).__name__
        'Decimal'
        """
        where = (
            "" if self.session_id is None or table in _OF_NONE else _OF_SESSION.get(table, "session_id = ?")
        )
        order = _ORDER.get(table)
        tail = (f"WHERE {where} " if where else "") + (f"ORDER BY {order}" if order else "")
        parameters = (self.session_id,) if where else ()
        names, rows = self._read(lambda database: read_table(database, table, tail, parameters))
        return table_frame(table, names, rows, exact=exact)

    def explain(self, decision: int | None = None) -> Decision:
        """Why a decision was made and what came of it: the last, or that of a row of ``decisions``.

        Raises :class:`bot.errors.InputError` where there is none.

        >>> why = run.explain(run.decisions.index[-1])
        >>> why.action, why.symbol
        ('short', 'BTCUSDT')
        """
        number = None if decision is None else int(decision)
        return Decision(self._ask(lambda database: load_explanation(database, number)))

    def report(self, path: str | PathLike[str] | None = None) -> Report:
        """All figures, beside buy and hold, with calibration and the funnel; with ``path`` also as an HTML file.

        >>> run.report("run.html").performance.fills == len(run.fills)
        True
        """
        whole = self.session_id is None
        index = None if self._runs is None else self._runs / INDEX_NAME
        found = self._read(lambda database: load_report(database, self.session_id, whole=whole, index=index))
        if path is not None:
            from bot.api.page import write_page

            write_page(Path(path), self, summary_of(found, self._ended))
        return found

    def save(self, name: str) -> Path:
        """Keep a backtest in the catalogue of runs, where ``run_bot.py runs`` finds it; its database's path.

        That it was tried is noted there, for the figures that weigh how many were. Raises
        :class:`bot.errors.InputError` for a name that is taken, and for what is no backtest of this process.

        >>> run.save("first").name
        'first.db'
        """
        if self._runs is None:
            raise InputError(
                "only what bot.backtest has returned can be saved; a stored session is kept already"
            )
        path = run_path(self._runs, check_name(name))
        if path.exists():
            raise InputError(f"save: there is a run {name} in {self._runs} already; choose another name")
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(self.path, path)
        wait_for(_keep(self.path, path, name))
        return path

    def __repr__(self) -> str:
        return f"<Session {self.path.name}>\n{self.summary!r}"

    def _repr_html_(self) -> str:
        return f"{self.summary._repr_html_()}{self.chart()}"

    def chart(self) -> str:
        """The account's unit value over time, as SVG text; "" before two rows of it."""
        return value_chart("unit value of the account", {"account": self.equity.unit_value})

    def _read(self, question: Callable[[Database], Awaitable[T]]) -> T:
        """What a question finds as of one commit, whoever writes meanwhile."""

        async def ask(database: Database) -> T:
            async with database.transaction(reads=True):
                return await question(database)

        return self._ask(ask)

    def _ask(self, question: Callable[[Database], Awaitable[T]]) -> T:
        """The same for a question that takes its snapshot itself."""

        async def ask() -> T:
            with readable(self.path):
                async with Database.open(self.path, readonly=True) as database:
                    return await question(database)

        return wait_for(ask())


def open_log(path: str | PathLike[str], session: int | None = None) -> Session:
    """Any database of the bot, read-only, also while a bot writes to it: its whole account, or one session's part.

    Raises :class:`bot.errors.InputError` where there is none.

    >>> log = bot.open_log(run.save("kept"))
    >>> log.trades.equals(run.trades)
    True
    """
    found = Session(Path(path).expanduser(), session)
    sessions = found.frame("sessions")
    if session is not None and sessions.empty:
        raise InputError(f"session: {path} holds no session {session}")
    return found


async def _keep(source: Path, path: Path, name: str) -> None:
    """The row of a run, and that it was tried, from the index beside its first place to that of the catalogue."""
    async with (
        Database.open(index_beside(source), kind=INDEX, readonly=True) as made,
        Database.open(index_beside(path), kind=INDEX) as index,
    ):
        (run,) = await load_runs(made)
        await save_run(index, replace(run, name=name))
        await copy_trials(made, index)
