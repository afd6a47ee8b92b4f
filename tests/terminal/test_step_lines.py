"""What a session logs of its Steps: once what repeats, and all that is new."""

import pytest
from structlog.testing import capture_logs

from bot.terminal.step_lines import StepLines
from bot.trading.events import Rejection, Step
from tests.factories import an_order


def refused(rule: str, symbol: str = "BTCUSDT") -> Step:
    order = an_order(symbol=symbol, status="rejected")
    return Step(
        time_ms=0, orders=(order,), rejections=(Rejection(order=order, rule=rule, reason=f"{rule} it is"),)
    )


def accepted(symbol: str = "BTCUSDT") -> Step:
    return Step(time_ms=0, orders=(an_order(symbol=symbol),))


@pytest.mark.parametrize(
    ("steps", "said"),
    [
        ([refused("halted")], ["halted"]),
        ([refused("halted")] * 1000, ["halted", "halted x1000"]),
        (
            [refused("halted"), refused("halted"), accepted(), refused("halted")],
            ["halted", "halted x2", "halted"],
        ),
        ([refused("halted"), refused("halted"), refused("paused")], ["halted", "halted x2", "paused"]),
        (
            [refused("halted"), refused("halted", "ETHUSDT")] * 2,
            ["halted", "halted", "halted x2", "halted x2"],
        ),
        ([refused("halted"), accepted("ETHUSDT"), refused("halted")], ["halted", "halted x2"]),
    ],
)
def test_what_is_refused_again_and_again_is_said_once_and_counted(steps, said):
    with capture_logs() as lines:
        log = StepLines()
        for step in steps:
            log.tell(step)
        log.finish()
    told = [line["rule"] + (f" x{line['times']}" if "times" in line else "") for line in lines]
    assert told == said
