"""Tables, and what the memory recalled, as pandas frames; pandas is imported when a frame is made, not before."""

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from bot.frames.columns import COLUMNS, DTYPES, INDEXES, UNKNOWN, Kind, column_name
from bot.market import Bar
from bot.model.similarity import Recollection

if TYPE_CHECKING:
    from pandas import DataFrame


def table_frame(
    table: str, names: Sequence[str], rows: Sequence[Sequence[Any]], *, exact: bool = False
) -> "DataFrame":
    """Rows of a table, with the names of their columns as stored, as its frame."""
    cells = list(zip(*rows, strict=True)) if rows else [()] * len(names)
    named = {column_name(name): values for name, values in zip(names, cells, strict=True)}
    return frame_of(named, index=INDEXES.get(table, ()), exact=exact)


def frame_of(
    columns: Mapping[str, Iterable[Any]], *, index: Sequence[str] = (), exact: bool = False
) -> "DataFrame":
    """A frame of columns as they are stored: times as milliseconds, decimals as their text or as Decimals."""
    import pandas

    frame = pandas.DataFrame(
        {
            name: _series(COLUMNS.get(name, UNKNOWN).kind, list(cells), exact=exact)
            for name, cells in columns.items()
        }
    )
    return frame.set_index(list(index)) if index else frame


def recalled_frame(recalled: Sequence[tuple[Bar, Recollection]]) -> "DataFrame":
    """What the memory said at the close of each bar; the columns are those of :func:`bot.recall`."""
    forecasts = [said.forecast for _, said in recalled]
    columns: dict[str, list[Any]] = {
        "start": [bar.start_ms for bar, _ in recalled],
        "symbol": [bar.symbol for bar, _ in recalled],
        "regime": [said.regime for _, said in recalled],
        "moments": [said.moments for _, said in recalled],
        "neighbors": [len(said.neighbors) for _, said in recalled],
        "similarity": [each and each.best_similarity for each in forecasts],
        "positive_ratio": [each and each.rise_probability for each in forecasts],
        "expected_return": [each and each.expected_return for each in forecasts],
        "return_std": [each and each.return_std for each in forecasts],
        "base_ratio": [each and each.base_ratio for each in forecasts],
        "effective_sample_size": [each and each.effective_sample_size for each in forecasts],
        "p_value": [each and each.p_value for each in forecasts],
    }
    columns["missing"] = [said.missing or None for _, said in recalled]
    return frame_of(columns, index=("start",))


def _series(kind: Kind, cells: list[Any], *, exact: bool) -> Any:
    import pandas

    if kind == "time":
        times = pandas.to_datetime(pandas.Series(cells, dtype="Int64"), unit="ms", utc=True)
        return times.astype(DTYPES[kind])
    if kind == "decimal":
        if exact:
            decimals = [None if cell is None or cell == "" else Decimal(cell) for cell in cells]
            return pandas.Series(decimals, dtype="object")
        floats = [float("nan") if cell is None or cell == "" else float(cell) for cell in cells]
        return pandas.Series(floats, dtype="float64")
    if kind == "flag":
        return pandas.Series([bool(cell) for cell in cells], dtype="bool")
    return pandas.Series(cells, dtype=DTYPES[kind])
