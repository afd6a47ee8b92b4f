"""Fill scenarios for a person's eye: figures of the same session under each preset, side by side."""

import msgspec
from msgspec import Struct

from bot.sessions.fill_scenarios import Scenarios
from bot.terminal.tables import print_table, print_text, print_title


def print_scenarios(scenarios: Scenarios) -> None:
    """Print a row for each preset."""
    print_title("the same market, other fills")
    print_table(
        ("market", "end equity", "return", "max drawdown", "fills", "round trips", "won", "fees"),
        [
            (
                preset,
                f"{found.end_equity:,.2f}",
                "-" if found.total_return is None else f"{found.total_return:+.2%}",
                f"{found.max_drawdown:.2%}",
                str(found.fills),
                str(found.round_trips),
                "-" if found.hit_rate is None else f"{found.hit_rate:.0%}",
                f"{found.fees:,.2f}",
            )
            for preset, found in scenarios.items()
        ],
    )
    returns = [found.total_return for found in scenarios.values() if found.total_return is not None]
    if returns:
        print_text(f"return between {min(returns):+.2%} and {max(returns):+.2%}, by fills alone")


def as_json(result: Struct, scenarios: Scenarios) -> str:
    """A result as one JSON object, with the figures of each preset under ``band``."""
    fields = msgspec.to_builtins(result)
    fields["band"] = {
        preset: {
            name: getattr(found, name)
            for name in (
                *("end_equity", "total_return", "max_drawdown"),
                *("fills", "round_trips", "hit_rate", "fees", "funding"),
            )
        }
        for preset, found in scenarios.items()
    }
    return msgspec.json.encode(fields).decode()
