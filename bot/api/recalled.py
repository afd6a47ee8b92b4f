"""``bot.recall``: what the memory would have said at each close, without any trading."""

from collections.abc import Mapping
from os import PathLike
from typing import TYPE_CHECKING, Any

from bot.api.arguments import exact_settings, time_ms
from bot.api.backtesting import ManyBars, listed, settings_of, source_of
from bot.api.waiting import wait_for
from bot.config import Config
from bot.frames.tables import recalled_frame
from bot.market import Bar, Category
from bot.model.similarity import Recollection
from bot.sessions.assembly import build_model
from bot.sessions.backtest import Progress, silent
from bot.sessions.backtest_plan import market_calendar
from bot.sessions.bar_source import BarSource, Span, spans_of

if TYPE_CHECKING:
    from pandas import DataFrame

_BATCH_BARS = 500


def recall(
    bars: ManyBars,
    *,
    since: Any = None,
    until: Any = None,
    warmup: int | None = None,
    category: Category | None = None,
    settings: Mapping[str, Any] | None = None,
    config: str | PathLike[str] | None = None,
    progress: Progress | None = None,
) -> "DataFrame":
    """What the memory says at the close of each bar, had the bot run: a frame with a row a bar.

    Arguments are those of :func:`bot.backtest`. Index ``start``: when the bar began; the row was knowable at its close.
    ``symbol``; ``regime``; ``moments``: how many matured ones the memory held, of all symbols; ``neighbors``: how many
    were recalled; ``similarity`` of the nearest; ``positive_ratio``: the calibrated probability of a rise over
    ``strategy.horizon_bars``; ``expected_return``, ``return_std`` (log returns, before costs); ``base_ratio``: the part
    of all moments that rose; ``effective_sample_size``: that of the neighbors; ``p_value``: of their lean.
    NaN where nothing could be recalled, and ``missing`` then says why.

    >>> said = bot.recall("BTCUSDT_waves_1h.csv", warmup=600)
    >>> len(said), bool(said.positive_ratio.between(0, 1).all())
    (600, True)
    """
    many = listed(bars)
    chosen = settings_of(many, config, category, exact_settings(settings or {}))
    source = source_of(many)
    spans = spans_of(
        source,
        since_ms=time_ms(since, "since"),
        until_ms=time_ms(until, "until"),
        warmup=warmup,
        live_warmup=chosen.memory.warmup_bars,
    )
    return recalled_frame(wait_for(_recalled(chosen, source, spans, progress or silent)))


async def _recalled(
    config: Config, source: BarSource, spans: Mapping[str, Span], progress: Progress
) -> list[tuple[Bar, Recollection]]:
    model = build_model(config, calendar=market_calendar(config, source))
    total = sum(span.count(source.starts[symbol]) for symbol, span in spans.items())
    observed: list[Bar] = []
    found: list[tuple[Bar, Recollection]] = []
    done = 0
    async for bar in source.bars():
        span = spans[bar.symbol]
        if not span.observed_ms <= bar.start_ms < span.end_ms:
            continue
        done += 1
        if done % _BATCH_BARS == 0 or done == total:
            progress("recall", done, total)
        if bar.start_ms < span.decided_ms:
            observed.append(bar)
            continue
        if observed:
            model.observe_all(observed)
            observed.clear()
        said = model.observe(bar)
        assert said is not None  # the model was built with a memory
        found.append((bar, said))
    return found
