"""``explain``: why one decision was made, which check decided, and its result."""

from collections.abc import Sequence
from decimal import Decimal
from math import log
from typing import Any

from bot import program
from bot.market import INTERVAL_MS, plain, utc_text
from bot.market.times import span_text
from bot.performance.decisions import KINDS
from bot.store.account.decisions import Explanation, RecalledMoment
from bot.store.account.tables import StoredSignal
from bot.terminal.money import money_text
from bot.terminal.tables import print_table, print_text, print_title
from bot.trading.checks import Check, first_failed
from bot.trading.events import Halt, Order, Pause

_BLOCKS = "▁▂▃▄▅▆▇█"
_SPARK_WIDTH = 18


def print_explanation(found: Explanation) -> None:
    signal = found.signal
    recollection = signal.detail.get("recollection", {})
    close = "" if found.close is None else f", close {plain(found.close)}"
    print_text(
        f"decision {signal.id}: {signal.action.upper()} {signal.symbol} {signal.interval}, "
        f"closed at {utc_text(signal.decided_ms)} UTC{close}, regime {signal.regime or 'not known yet'}"
    )
    print_text(f"because: {signal.reason}")
    if signal.late:
        print_text("late: a newer bar had closed when this one arrived, so it could open nothing")
    if found.halt is not None:
        print_text(f"halted {halt_text(found.halt)}")
    for pause in found.pauses:
        print_text(pause_text(pause))
    print_text(f"result: {_outcome_text(found)}")
    _print_checks(found)
    _print_forecast(signal, recollection, found.neighbors)
    if found.neighbors:
        bars = "" if signal.horizon_bars is None else f", and the {signal.horizon_bars} bars after it"
        print_title(f"the {len(found.neighbors)} nearest of {recollection.get('moments', '?')} moments{bars}")
        print_table(
            (
                "",
                "moment from .. to, UTC",
                "symbol",
                "similarity",
                "weight",
                "regime",
                "return",
                "next bars",
            ),
            [
                (
                    str(moment.rank),
                    span_text(moment.bar_start_ms, moment.bar_start_ms + INTERVAL_MS[signal.interval]),
                    moment.symbol,
                    f"{moment.similarity:.3f}",
                    f"{moment.weight:.3f}",
                    moment.regime,
                    percent(moment.forward_return),
                    _path(moment.closes) or "-",
                )
                for moment in found.neighbors
            ],
            spare=("weight", "regime"),
        )
    elif recollection.get("missing"):
        print_text(f"no moments recalled: {recollection['missing']}")
    own = {key: value for key, value in signal.detail.items() if key != "recollection"}
    if own:
        print_title("the strategy's figures")
        print_table(("name", "value"), [(key, _figure(value)) for key, value in own.items()])
    _print_consequences(found)


def _print_forecast(
    signal: StoredSignal, recollection: dict[str, Any], neighbors: Sequence[RecalledMoment]
) -> None:
    if signal.expected_return is not None:
        spread = "" if signal.return_std is None else f" ± {signal.return_std * 100:.2f}%"
        bars = "" if signal.horizon_bars is None else f" over {signal.horizon_bars} bars"
        print_text(
            f"expected return {percent(signal.expected_return)}{spread}{bars} (log, before costs), "
            f"confidence {signal.confidence:.2f}{_against(signal)}"
        )
        if recollection.get("forecast") is not None and neighbors:
            own = sum(moment.weight * moment.forward_return for moment in neighbors)
            print_text(
                "expected return: the calibrated probability of a rise times the usual size of a move; "
                f"the moments' own mean, by weight and at the volatility of their time, is {percent(own)}"
            )
    forecast = recollection.get("forecast")
    if forecast is not None:
        ratio = forecast["positive_ratio"] if signal.positive_ratio is None else signal.positive_ratio
        print_text(
            f"probability of a rise {ratio:.0%}, base rate {forecast['base_ratio']:.0%} "
            f"(mean {percent(forecast['base_return'])}); effective sample size {forecast['effective']:.1f}, "
            f"p-value {_chance(forecast['chance'])}"
        )
        belief = forecast.get("belief")
        if belief is not None:
            print_text(
                f"raw probability of a rise {forecast['vote']:.0%}, calibrated on {belief['votes']} earlier votes "
                f"(slope {belief['slope']:.2f}; nearest moment at least as similar as in {belief['alike']:.0%} of them)"
            )
        if forecast.get("outlook") is not None:
            _print_outlook(forecast["outlook"], belief)
    elif signal.positive_ratio is not None:
        print_text(f"probability of a rise {signal.positive_ratio:.0%}")
    votes = sorted(recollection.get("regime_votes", {}).items(), key=lambda vote: -vote[1])
    if votes:
        print_text("regime vote: " + ", ".join(f"{regime} {share:.0%}" for regime, share in votes))


def _chance(chance: float) -> str:
    """A probability; a small one is not told as none."""
    return f"{chance:.0%}" if chance >= 0.01 else f"{chance:.2%}" if chance >= 0.00005 else "below 0.01%"


def _against(signal: StoredSignal) -> str:
    """Why confidence can be below one half: the direction called is not always the likelier one."""
    if signal.action != "hold" or not 0.0 < signal.confidence < 0.5:
        return ""
    return " of the side that the moments lean to, against their base rate: the other is likelier"


def _print_outlook(outlook: dict[str, Any], belief: dict[str, Any] | None) -> None:
    """The head's own view, what was recalled, and what the gate made of both."""
    print_text(f"in 9 of 10 cases {_range(outlook['quantiles'])}, median {_median(outlook['quantiles'])}")
    believed = "" if belief is None else f", which counts {belief['head']:.2f} times beside the vote"
    print_text(
        f"the head alone: {_range(outlook['head'])}, median {_median(outlook['head'])}, "
        f"{outlook['head_ratio']:.0%} up{believed}"
    )
    if outlook["recalled"] is None:
        print_text("gate 0.00: no moment's odds are known yet")
    else:
        print_text(
            f"gate {outlook['gate']:.2f} to moments in a like state (weighing as {outlook['effective']:,.0f}): "
            f"{_range(outlook['recalled'])}, median {_median(outlook['recalled'])}; "
            f"{outlook['null']:.0%} of the attention found none"
        )


def _range(quantiles: Sequence[float]) -> str:
    return f"{percent(quantiles[0])} to {percent(quantiles[-1])}"


def _median(quantiles: Sequence[float]) -> str:
    return percent(quantiles[len(quantiles) // 2])


def _outcome_text(found: Explanation) -> str:
    outcome = found.outcome
    if outcome is None:
        return "it asked for nothing, and " + (
            "a halt sold what was held" if found.orders else "no order followed"
        )
    kind = KINDS[outcome.kind]
    return kind if outcome.words == kind else f"{kind}: {outcome.words}"


def _print_checks(found: Explanation) -> None:
    """All conditions of an entry, with the one that decided."""
    checks = found.signal.checks
    if not checks:
        return
    failed = first_failed(checks)
    print_title("checks of an entry" if failed is None else f"checks of an entry: {failed.name} decided")
    rows = []
    for check in checks:
        result = "passed" if check.passed else "failed" + (", decided" if check is failed else "")
        value, needs = _numbers(check)
        rows.append((check.name, found.check_labels.get(check.name, ""), value, needs, result))
    print_table(("check", "passed means", "value", "needs", "result"), rows, spare=("passed means",))
    print()


def _numbers(check: Check) -> tuple[str, str]:
    if check.value is None or check.limit is None:
        return "-", "-"
    return f"{check.value:.4g}", f"{check.relation} {check.limit:.4g}"


def _print_consequences(found: Explanation) -> None:
    if not found.orders:
        return
    print_title("orders that followed")
    print_orders(found.orders)
    if found.fills:
        print_title("fills that followed")
        print_table(
            ("fill", "order", "time UTC", "side", "quantity", "price", "reference", "rule", "fee", "pnl"),
            [
                (
                    str(fill.id),
                    str(fill.order_id),
                    utc_text(fill.time_ms),
                    fill.side,
                    plain(fill.quantity),
                    plain(fill.price),
                    plain(fill.reference_price),
                    fill.rule + (" (late)" if fill.late else ""),
                    money_text(fill.fee),
                    money_text(fill.realized_pnl, signed=True),
                )
                for fill in found.fills
            ],
            spare=("rule", "order", "reference"),
        )


def print_orders(orders: Sequence[Order]) -> None:
    """Print a table of orders as they stand."""
    print_table(
        ("order", "symbol", "side", "type", "quantity", "filled", "at", "status", "created UTC", "reason"),
        [
            (
                str(order.id),
                order.symbol,
                order.side,
                order.type,
                plain(order.quantity),
                plain(order.filled_quantity),
                _level(order),
                order.status,
                utc_text(order.created_ms),
                order.reason or "-",
            )
            for order in orders
        ],
    )


def pause_text(pause: Pause) -> str:
    """What is paused, since when, and whether a person has resumed."""
    note = f" ({pause.note})" if pause.note else ""
    text = f"paused: {pause.symbol or 'everything'} since {utc_text(pause.time_ms)} UTC{note}"
    if pause.resumed_ms is not None:
        return f"{text}; resumed {utc_text(pause.resumed_ms)} UTC"
    scope = f" {pause.symbol}" if pause.symbol else ""
    return f"{text}; nothing is entered until `{program.name()} resume{scope}`, exits go on"


def halt_text(halt: Halt) -> str:
    """Since when, by which rule, and whether a person has resumed."""
    text = f"since {utc_text(halt.time_ms)} UTC by {halt.rule}: {halt.reason}"
    if halt.resumed_ms is None:
        return f"{text}, and nothing is entered until `{program.name()} resume`"
    note = f" ({halt.note})" if halt.note else ""
    return f"{text}; resumed {utc_text(halt.resumed_ms)} UTC{note}"


def sparkline(values: Sequence[float]) -> str:
    """A line of blocks between the lowest value and the highest; long series are thinned."""
    if not values:
        return ""
    if len(values) > _SPARK_WIDTH:
        step = (len(values) - 1) / (_SPARK_WIDTH - 1)
        values = [values[round(i * step)] for i in range(_SPARK_WIDTH)]
    low, high = min(values), max(values)
    if low == high:
        return _BLOCKS[3] * len(values)
    scale = (len(_BLOCKS) - 1) / (high - low)
    return "".join(_BLOCKS[round((value - low) * scale)] for value in values)


def percent(value: float | None) -> str:
    """``+0.40%``; - where nothing is known."""
    return "-" if value is None else f"{value * 100:+.2f}%"


def _level(order: Order) -> str:
    """The price that an order waits for, - where it takes any."""
    price = order.limit_price if order.stop_price is None else order.stop_price
    return "-" if price is None else plain(price)


def _path(closes: Sequence[Decimal]) -> str:
    return sparkline([log(close) for close in closes])


def _figure(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_figure(each)}" for name, each in value.items())
    return f"{value:.4g}" if isinstance(value, float) else str(value)
