"""What a caller gives in Python's words, as the bot's own: times, intervals, settings."""

from collections.abc import Mapping
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any

from bot.errors import InputError
from bot.market import INTERVAL_MS, interval_from_name


def time_ms(given: Any, name: str) -> int | None:
    """UTC milliseconds of ``"2024-01-31T12:00"``, a date, a datetime or a Timestamp; UTC where none says else."""
    if given is None:
        return None
    moment = given
    if isinstance(given, str):
        try:
            moment = datetime.fromisoformat(given)
        except ValueError:
            raise InputError(
                f"{name}: {given!r} is not a time such as 2024-01-31 or 2024-01-31T12:00"
            ) from None
    if isinstance(moment, date) and not isinstance(moment, datetime):
        moment = datetime.combine(moment, time())
    if not isinstance(moment, datetime):
        raise InputError(f"{name}: a time is text or a datetime, not {type(given).__name__}")
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    since = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return (since.days * 86_400 + since.seconds) * 1000 + since.microseconds // 1000


def interval_name(given: str) -> str:
    """Bybit's notation of ``60`` or ``1h``."""
    known = interval_from_name(str(given))
    if known is None:
        raise InputError(f"unknown interval {given}; one of {', '.join(INTERVAL_MS)}, or 1h, 1d")
    return known


def exact_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings by dotted key; a float's digits are those that it is written with."""
    return {
        key: Decimal(repr(value)) if isinstance(value, float) else value for key, value in settings.items()
    }
