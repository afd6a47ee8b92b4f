"""How much of an account was at work on average: what buy and hold is to be compared at."""

from collections.abc import Iterable, Mapping
from math import fsum


class AverageExposure:
    """Mean over closes of what is held, longs and shorts alike, as a fraction of the equity.

    ``quantities`` (signed, base coin) were held before, ``fills`` are the time, symbol and signed quantity of
    each one since, in order. A close counts with what was filled before it: what has its time was filled at the
    next open.
    """

    def __init__(self, quantities: Mapping[str, float], fills: Iterable[tuple[int, str, float]]) -> None:
        self._quantities = dict(quantities)
        self._fills = iter(fills)
        self._next = next(self._fills, None)
        self._closes: dict[str, float] = {}
        self._shares: list[float] = []

    def close(self, time_ms: int, closes: Mapping[str, float], equity: float) -> None:
        """Bars closed at these prices (quote currency) and left the account worth ``equity``."""
        self._closes.update(closes)
        while self._next is not None and self._next[0] < time_ms:
            _, symbol, quantity = self._next
            self._quantities[symbol] = self._quantities.get(symbol, 0.0) + quantity
            self._next = next(self._fills, None)
        if equity > 0:
            held = fsum(
                abs(self._quantities.get(symbol, 0.0)) * price for symbol, price in self._closes.items()
            )
            self._shares.append(held / equity)

    @property
    def mean(self) -> float | None:
        """None without a close of an account that was worth something."""
        return fsum(self._shares) / len(self._shares) if self._shares else None
