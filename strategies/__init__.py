"""The strategies that ship with the bot, by the name that the configuration uses."""

STRATEGIES: dict[str, str] = {
    "historical_similarity": "strategies.historical_similarity:HistoricalSimilarityStrategy",
    "buy_and_hold": "strategies.buy_and_hold:BuyAndHoldStrategy",
    "moving_average_cross": "strategies.moving_average_cross:MovingAverageCrossStrategy",
}
"""Name to ``module:Class``; nothing is imported before it is chosen."""
