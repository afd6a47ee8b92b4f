"""Whether a replay equals the session in a database, for a person's eye."""

from bot.market import utc_text
from bot.sessions.replay import Verdict


def verdict_text(verdict: Verdict) -> str:
    """One line: equal up to where, or the first difference and its likely cause."""
    one = verdict.difference
    if one is None:
        counts = ", ".join(f"{count} {table}" for table, count in verdict.rows.items() if count)
        return f"equal to {verdict.database} up to its last commit: {counts or 'nothing was written yet'}"
    key = " ".join(f"{name} {value}" for name, value in one.key.items())
    where = f"{utc_text(one.time_ms)} UTC"
    if one.bar_start_ms is not None:
        where += f", decided on the {one.symbol} bar of {utc_text(one.bar_start_ms)} UTC"
    what = f"{one.table} {key}" + (f", {one.column}" if one.column else "")
    values = f"{_shown(one.in_database)} in the database, {_shown(one.in_replay)} in the replay"
    return f"different from {verdict.database}: {what}: {values} ({where}); likely cause: {verdict.cause}"


def _shown(value: object) -> str:
    return "nothing" if value is None else str(value)
