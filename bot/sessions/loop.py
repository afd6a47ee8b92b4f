"""The one loop: event in, Step out, written down."""

from collections.abc import AsyncIterable, Callable

from bot.market import Notice
from bot.store.account.steps import StepWriter
from bot.trader import Trader
from bot.trading.events import Answer, History, Input, Step


async def run(
    events: AsyncIterable[Input], trader: Trader, steps: StepWriter, report: Callable[[Step], None]
) -> None:
    """Hand each event to the trader, write down what it caused, and only then report it."""
    unreported: list[Step] = []
    try:
        async for event in events:
            step = advance(trader, event)  # a millisecond or two; pings can wait that long
            unreported.append(step)
            if await steps.append(step):
                _report(unreported, report)
        await steps.flush()
        _report(unreported, report)
    finally:
        steps.give_up()


def _report(steps: list[Step], report: Callable[[Step], None]) -> None:
    for step in steps:
        report(step)
    steps.clear()


def advance(trader: Trader, event: Input) -> Step:
    """What one event causes."""
    if isinstance(event, Notice):
        # The market's weather: kept for people, nothing that the core decides by.
        return Step(time_ms=event.time_ms, notices=(event,))
    if isinstance(event, History):
        trader.observe_all(event.bars)
        return Step(time_ms=event.bars[-1].close_ms)
    if isinstance(event, Answer):
        # What was asked for cannot even be put to the core.
        return Step(time_ms=event.time_ms, answers=(event,))
    return trader.advance(event)
