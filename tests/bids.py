"""A strategy that says all that a Signal can: limits of every kind, sizes and parts."""

import zlib

from bot.strategy import Situation, StrategyConfig
from bot.trading.events import Signal


class Bids:
    """Bids or offers beside the close for some bars, again at the same price, at once or never; closes a part."""

    needs_memory = False

    def __init__(self, config: StrategyConfig) -> None:
        pass

    def decide(self, situation: Situation) -> Signal:
        """As a hash of the bar's time says."""
        bar, held = situation.bar, situation.position.quantity
        turn = zlib.crc32(f"{bar.symbol} {bar.start_ms}".encode())
        reason, enter = f"bids: turn {turn % 8}", Signal.long if turn // 8 % 2 else Signal.short
        away = 1 if enter == Signal.short else -1
        resting = [order for order in situation.open_orders if order.type == "limit"]
        match turn % 8:
            case 0 | 1 if resting:
                again = Signal.long if resting[0].side == "buy" else Signal.short
                return again(reason, limit=resting[0].limit_price, valid_bars=2, size=0.1, stop=3.0)
            case 0 | 1 | 2:
                limit = float(bar.close) * (1 + 0.002 * away)
                return enter(reason, limit=limit, valid_bars=2, size=0.1, stop=3.0, detail={"gate": "bids"})
            case 3:
                return enter(reason, limit_distance=0.5, post_only=True, size=0.9, time_stop_bars=4)
            case 4:
                return enter(reason, limit_distance=-0.2, ioc=True, size=0.05)
            case 5 if held:
                return Signal.close(reason, fraction=0.4)
            case _:
                return Signal.hold(reason)
