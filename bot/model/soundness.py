"""Whether weights of unknown origin give finite keys and forecasts: by their size, and by trial on random windows."""

import numpy as np

from bot.model.features import WINDOW_BARS
from bot.model.network.encoder import WindowEncoder
from bot.model.network.parameters import Weights
from bot.model.network.streaming import StreamingTransformer, TransformerEncoder
from bot.model.odds import LEVELS, Odds

MAX_WEIGHT = 1_000.0
"""No weight of a trained network is near it; with larger ones sums of products may overflow."""
_MIN_STD = 1e-3
_MAX_FIGURE = 1e9
_MAX_ATTENTION = 32_768
"""Figures kept for all bars that a token attends to: width times bars."""
_PROBES, _HORIZONS = 8, (1, 24, 1_000)
_SCALES = (1.0, 1e-3, 30.0)


def encoder_problem(encoder: WindowEncoder | TransformerEncoder, weights: Weights) -> str | None:
    """Why this encoder's keys cannot be compared, as text; None where they can."""
    network = encoder.network
    if isinstance(network, StreamingTransformer) and network.width * network.attention_bars > _MAX_ATTENTION:
        return f"a width of {network.width} over {network.attention_bars} bars is wider than any"
    if encoder.receptive_bars > WINDOW_BARS:
        return f"a key of {encoder.receptive_bars} bars; {WINDOW_BARS} are kept at most"
    if (problem := _size_problem(weights)) is not None:
        return problem
    random = np.random.default_rng(1)
    for scale in _SCALES:
        with np.errstate(all="ignore"):
            keys = encoder.keys(scale * random.standard_normal(network.bars + _PROBES - 1))
        if not np.isfinite(keys).all() or (np.abs(keys) > _MAX_FIGURE).any():
            return "its keys are no finite figures"
        if not keys.any(axis=1).all():
            return "its keys are nothing but zeros"
    return None


def odds_problem(odds: Odds) -> str | None:
    """Why these weights give no forecast, as text; None where they do."""
    if (problem := _size_problem(odds.weights)) is not None:
        return problem
    if (odds.weights["inputs.spread"] < _MIN_STD).any():
        return f"a spread of its inputs is below {_MIN_STD}"
    random = np.random.default_rng(1)
    for scale in _SCALES:
        rows = (scale * random.standard_normal((_PROBES, odds.network.inputs))).astype(np.float32)
        heads = odds.heads(rows)
        for horizon in _HORIZONS:
            with np.errstate(all="ignore"):
                state, sizes = odds.standings(rows, horizon)
                quantiles = odds.at(heads, horizon)
            figures = (state, sizes, quantiles, np.array([odds.temperature(horizon), odds.gate(horizon)]))
            if not all(
                np.isfinite(figure).all() and (np.abs(figure) < _MAX_FIGURE).all() for figure in figures
            ):
                return "its states and forecasts are no finite figures"
            assert quantiles.shape == (_PROBES, len(LEVELS))
    return None


def _size_problem(weights: Weights) -> str | None:
    for name, tensor in weights.items():
        if (np.abs(tensor) > MAX_WEIGHT).any():
            return f"{name} has a weight beyond {MAX_WEIGHT:,.0f}, which no training gives"
    return None
