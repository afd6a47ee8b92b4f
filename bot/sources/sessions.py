"""The calendar of a run: none needed, told by its bars, or an exchange's sessions from ``exchange_calendars``."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from bot.errors import ConfigError
from bot.market.calendars import ALWAYS_OPEN, NEVER_CLOSES, OBSERVED, Calendar, Session, observed, scheduled

_EXTRA = "pip install 'paper-trading-bot[stocks]', or exchange_calendars itself"


def calendar_for(name: str, interval: str, zone: str, starts: Iterable[int]) -> Calendar:
    """The calendar that ``run.calendar`` names, over bars that start at ``starts`` (of all symbols).

    ``zone`` is the market's own where its bars tell the sessions (``observed``). Raises ConfigError for a
    code that is not known, or where the library that knows them is missing.
    """
    if name == NEVER_CLOSES:
        return ALWAYS_OPEN
    known = sorted(set(starts))
    if not known:
        return ALWAYS_OPEN
    if name == OBSERVED:
        return observed(interval, known, zone)
    exchange = _exchange(name, known[0], known[-1])
    return scheduled(name, interval, known, _sessions(exchange), str(exchange.tz))


def _exchange(code: str, first_ms: int, last_ms: int) -> Any:
    try:
        import exchange_calendars
        from exchange_calendars.errors import CalendarError, InvalidCalendarName
    except ImportError as error:
        raise ConfigError(
            f"run.calendar: {code} is looked up in exchange_calendars, which is not installed: {_EXTRA}; "
            f"or let the bars tell (run.calendar = {OBSERVED!r})"
        ) from error
    # A day on either side: an exchange's date need not be UTC's.
    day = timedelta(days=1)
    first, last = (datetime.fromtimestamp(ms / 1000, UTC).date() for ms in (first_ms, last_ms))
    try:
        return exchange_calendars.get_calendar(code, start=str(first - day), end=str(last + day))
    except InvalidCalendarName as error:
        raise ConfigError(
            f"run.calendar: {code!r} is no code of an exchange that exchange_calendars knows, such as XNYS or "
            f"XLON; nor {NEVER_CLOSES!r} or {OBSERVED!r}"
        ) from error
    except (CalendarError, ValueError) as error:
        raise ConfigError(f"run.calendar: {code} does not cover {first} to {last}: {error}") from error


def _sessions(exchange: Any) -> Iterable[Session]:
    table = exchange.schedule
    columns = (table[name] for name in ("open", "break_start", "break_end", "close"))
    for day, opens, pauses, resumes, closes in zip(table.index, *columns, strict=True):
        stretches = ((opens, closes),) if pauses != pauses else ((opens, pauses), (resumes, closes))
        yield Session(
            day=day.date(),
            open_ms=tuple((_ms(since), _ms(until)) for since, until in stretches),
        )


def _ms(at: Any) -> int:
    return int(at.timestamp() * 1000)
