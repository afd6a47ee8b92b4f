"""What was imported or fetched into the history store, for a person's eye."""

from bot.market import INTERVAL_MS, minute_text
from bot.sessions.fetch_bars import Fetched
from bot.sessions.import_bars import Imported

_GAPS_SHOWN = 10


def imported_text(each: Imported) -> str:
    """What became of a file, in a line."""
    text = (
        f"{each.file}: {each.added} new bars of {each.symbol} {each.interval} ({each.venue}, "
        f"{minute_text(each.first_start_ms)} to {minute_text(each.last_start_ms)} UTC)"
    )
    if each.known:
        text += f", {each.known} were there already"
    if each.differing:
        text += f"; {each.differing} of those differ and were left as they were"
    return text


def fetched_text(one: Fetched) -> str:
    """What is stored of a symbol now, what the exchange has not, and the rates beside it, in lines."""
    if one.first_start_ms is None or one.last_start_ms is None:
        return (
            f"{one.symbol} {one.interval}: the exchange has no bar between {minute_text(one.since_ms)} and "
            f"{minute_text(one.until_ms)} UTC"
        )
    lines = [
        f"{one.symbol} {one.interval}: {one.added} new bars, {one.stored} in all in {one.database} "
        f"({minute_text(one.first_start_ms)} to {minute_text(one.last_start_ms)} UTC)"
    ]
    if one.first_start_ms > one.since_ms:
        lines.append(f"  the exchange's bars begin at {minute_text(one.first_start_ms)}")
    if one.last_start_ms + INTERVAL_MS[one.interval] < one.until_ms:
        lines.append(f"  the exchange shows none after {minute_text(one.last_start_ms)}")
    if one.gaps:
        bars = sum(gap.bars for gap in one.gaps)
        lines.append(f"  {bars} bars in {len(one.gaps)} gaps are not on the exchange:")
        lines += [
            f"    {minute_text(gap.first_start_ms)} to {minute_text(gap.last_start_ms)}: {gap.bars}"
            for gap in one.gaps[:_GAPS_SHOWN]
        ]
        if len(one.gaps) > _GAPS_SHOWN:
            lines.append(f"    and {len(one.gaps) - _GAPS_SHOWN} more; --json lists them all")
    if one.funding is not None:
        lines.append(one.funding.text())
    return "\n".join(lines)
