"""The strategies that ship with the bot, by the name that the configuration uses."""

STRATEGIES: dict[str, str] = {
    "historical_similarity": "strategies.historical_similarity:HistoricalSimilarityStrategy",
    "buy_and_hold": "strategies.buy_and_hold:BuyAndHoldStrategy",
    "channel_breakout": "strategies.channel_breakout:ChannelBreakoutStrategy",
    "mean_reversion": "strategies.mean_reversion:MeanReversionStrategy",
    "pair_spread": "strategies.pair_spread:PairSpreadStrategy",
    "moving_average_cross": "strategies.moving_average_cross:MovingAverageCrossStrategy",
}
"""Name to ``module:Class``; nothing is imported before it is chosen."""
