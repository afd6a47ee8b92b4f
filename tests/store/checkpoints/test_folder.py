import hashlib
import json

import msgspec
import numpy as np
import pytest

from bot.errors import InputError
from bot.model.features import STATE_FEATURES
from bot.model.network.encoder import WindowNetwork, unit_scale
from bot.model.network.streaming import StreamingTransformer
from bot.model.odds import OddsNetwork
from bot.model.training.views import ShapeConfig, ValidationPoint, contiguous_returns
from bot.store.checkpoints.card import BarRange, Card, OddsCard
from bot.store.checkpoints.folder import DEFAULT, load_checkpoint, save_checkpoint
from bot.synthetic import PRESETS, SyntheticMarket
from tests.model.network.test_encoder import weights_of
from tests.model.test_odds import some_weights

LOOK = ValidationPoint(step=10, loss=4.5, top1_accuracy=0.25, temperature=0.06)
NETWORKS = [WindowNetwork(width=8), StreamingTransformer(width=24, inner=16)]


def a_card(network=NETWORKS[0], **fields):
    bars = BarRange(
        symbol="BTCUSDT",
        interval="60",
        bars=1000,
        first_start_ms=1_600_000_000_000,
        last_start_ms=1_603_600_000_000,
    )
    return Card(
        **{
            "network": network,
            "trained_on": (bars,),
            "validated_on": (),
            "shapes": ShapeConfig(),
            "training": {"seed": 1},
            "steps": 10,
            "best": LOOK,
            "history": (LOOK,),
            "made_with": {"torch": "2"},
        }
        | fields
    )


ODDS = OddsNetwork(inputs=len(STATE_FEATURES), width=8, dimension=5)


def an_odds_card(network=ODDS):
    (bars,) = a_card().trained_on
    return OddsCard(
        network=network,
        trained_on=(bars,),
        validated_on=(),
        training={"seed": 1, "steps": 400},
        history=({"step": 25, "recall": 0.5, "head": 0.51},),
        unseen=({"horizon": 24, "blend": 0.49},),
    )


@pytest.mark.parametrize("network", NETWORKS)
def test_a_checkpoint_comes_back_as_it_was_saved(tmp_path, network):
    weights = weights_of(network)
    card = save_checkpoint(tmp_path / "a" / "b", weights, a_card(network))
    loaded = load_checkpoint(tmp_path / "a" / "b")
    assert loaded.card == card
    assert loaded.encoder.network == network
    assert loaded.sha256 == card.weights_sha256
    assert loaded.sha256 == hashlib.sha256((tmp_path / "a/b/weights.safetensors").read_bytes()).hexdigest()
    scaled = np.random.default_rng(1).standard_normal(80)
    assert np.array_equal(loaded.encoder.keys(scaled), type(loaded.encoder)(network, weights).keys(scaled))


def test_saving_twice_writes_the_same_bytes_and_leaves_nothing_else(tmp_path):
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder in folders:
        for seed in (2, 1):  # the second save replaces the first
            save_checkpoint(folder, weights_of(NETWORKS[0], seed), a_card())
    files = sorted(path.name for path in folders[0].iterdir())
    assert files == ["checkpoint.json", "report.md", "weights.safetensors"]
    assert all((folders[0] / name).read_bytes() == (folders[1] / name).read_bytes() for name in files)


def test_the_report_says_what_the_encoder_was_trained_on_and_how_it_went(tmp_path):
    save_checkpoint(tmp_path, weights_of(NETWORKS[0]), a_card())
    report = (tmp_path / "report.md").read_text()
    assert "| training | BTCUSDT | 60 | 1,000 | 2020-09-13 12:26" in report
    assert "| 10 | 4.5000 | 25.0% | 0.0600 |" in report


def test_a_folder_that_is_no_checkpoint_is_one_clear_line(tmp_path):
    with pytest.raises(InputError, match=r"is no checkpoint: it holds no weights\.safetensors; train one"):
        load_checkpoint(tmp_path / "nowhere")


def test_weights_and_card_that_do_not_belong_together_are_refused(tmp_path):
    save_checkpoint(tmp_path, weights_of(NETWORKS[0], 1), a_card())
    weights = tmp_path / "weights.safetensors"
    damaged = bytearray(weights.read_bytes())
    damaged[-1] ^= 1
    weights.write_bytes(damaged)
    with pytest.raises(InputError, match=r"is not the file that checkpoint\.json describes"):
        load_checkpoint(tmp_path)


@pytest.mark.parametrize("data", [b"", b"no tensors at all", b"\xff" * 100])
def test_a_file_that_holds_no_tensors_is_refused_in_one_line(tmp_path, data):
    save_checkpoint(tmp_path, weights_of(NETWORKS[0]), a_card())
    (tmp_path / "weights.safetensors").write_bytes(data)
    rewrite(tmp_path, weights_sha256=hashlib.sha256(data).hexdigest())
    with pytest.raises(InputError, match="does not hold an encoder") as refused:
        load_checkpoint(tmp_path)
    assert "\n" not in str(refused.value)


def test_weights_of_another_network_are_refused(tmp_path):
    weights = weights_of(WindowNetwork(width=9))
    save_checkpoint(tmp_path, weights, a_card(WindowNetwork(width=8)))
    with pytest.raises(InputError, match=r"does not hold an encoder: .* not float32 \(8, 48\)"):
        load_checkpoint(tmp_path)


@pytest.mark.parametrize(
    ("text", "complaint"), [("{", "is no checkpoint's card"), ("[]", "is no checkpoint's card")]
)
def test_a_damaged_card_is_refused(tmp_path, text, complaint):
    save_checkpoint(tmp_path, weights_of(NETWORKS[0]), a_card())
    (tmp_path / "checkpoint.json").write_text(text)
    with pytest.raises(InputError, match=complaint):
        load_checkpoint(tmp_path)


def test_a_newer_format_is_refused(tmp_path):
    save_checkpoint(tmp_path, weights_of(NETWORKS[0]), a_card())
    rewrite(tmp_path, format=2)
    with pytest.raises(InputError, match="has format 2, this bot reads 1"):
        load_checkpoint(tmp_path)


def test_the_shipped_checkpoint_loads_is_small_and_says_what_it_was_trained_on():
    shipped = load_checkpoint(DEFAULT)
    assert shipped.encoder.dimension == 64
    assert (DEFAULT / "weights.safetensors").stat().st_size < 5_000_000
    assert {one.interval for one in shipped.card.trained_on} == {"60"}
    assert len(shipped.card.trained_on) >= 3
    assert shipped.card.summary().endswith("at 60")
    assert (DEFAULT / "report.md").read_text() == shipped.card.report()


def test_the_shipped_keys_recognise_a_noisy_warped_shape_more_often_than_plain_windows():
    market = SyntheticMarket(PRESETS["hard"], 5, "60")
    count = 20_000
    (run,) = contiguous_returns(market.bars("BTCUSDT", 0, count))
    motif = market.truth("BTCUSDT", count - len(run), len(run))
    keys = load_checkpoint(DEFAULT).encoder.keys(run.scaled)
    plain = unit_scale(np.lib.stride_tricks.sliding_window_view(run.scaled, 48))
    known = motif.motif[47:]
    ended = np.flatnonzero((motif.remaining[47:] == 0) & (known >= 0))
    asking = ended[ended > 10_000] + 3

    def found(rows):
        """Share of the 32 nearest earlier moments that lie within the same motif or its drift."""
        shares = []
        for query in asking.tolist():
            nearest = np.argsort(-(rows[: query - 64] @ rows[query]))[:32]
            shares.append(float((known[nearest] == known[query]).mean()))
        return float(np.mean(shares))

    assert found(keys) > 1.5 * found(plain)


def rewrite(folder, **fields):
    path = folder / "checkpoint.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | msgspec.to_builtins(fields)))


def test_odds_come_back_beside_the_encoder_in_one_file_that_names_both(tmp_path):
    weights, odds = weights_of(NETWORKS[0]), some_weights(ODDS)
    plain = save_checkpoint(tmp_path / "plain", weights, a_card())
    card = save_checkpoint(tmp_path / "both", weights, a_card(odds=an_odds_card()), odds)
    other = save_checkpoint(tmp_path / "other", weights, a_card(odds=an_odds_card()), some_weights(ODDS, 9))
    assert len({plain.weights_sha256, card.weights_sha256, other.weights_sha256}) == 3
    loaded = load_checkpoint(tmp_path / "both")
    assert loaded.card == card
    assert loaded.odds.network == ODDS
    row = np.random.default_rng(1).standard_normal(ODDS.inputs).astype(np.float32)
    assert loaded.odds.head(row).tobytes() == load_checkpoint(tmp_path / "both").odds.head(row).tobytes()
    assert not np.array_equal(loaded.odds.head(row), load_checkpoint(tmp_path / "other").odds.head(row))
    scaled = np.random.default_rng(1).standard_normal(80)
    assert np.array_equal(
        loaded.encoder.keys(scaled), load_checkpoint(tmp_path / "plain").encoder.keys(scaled)
    )
    assert loaded.weights.keys() == weights.keys()


def test_a_checkpoint_without_odds_has_none(tmp_path):
    save_checkpoint(tmp_path, weights_of(NETWORKS[0]), a_card())
    assert load_checkpoint(tmp_path).odds is None
    rewritten = json.loads((tmp_path / "checkpoint.json").read_text())
    del rewritten["odds"]  # as cards were written before there were any
    (tmp_path / "checkpoint.json").write_text(json.dumps(rewritten))
    assert load_checkpoint(tmp_path).odds is None


def test_card_and_report_say_what_the_odds_were_trained_on(tmp_path):
    card = save_checkpoint(tmp_path, weights_of(NETWORKS[0]), a_card(odds=an_odds_card()), some_weights(ODDS))
    assert card.summary().endswith("odds over 1, 4, 24 bars, trained on BTCUSDT at 60")
    report = (tmp_path / "report.md").read_text()
    assert "## Odds" in report
    assert "| 25 | 0.5000 | 0.5100 |" in report


def test_odds_that_want_other_figures_of_a_bar_or_do_not_fit_are_refused(tmp_path):
    narrow = OddsNetwork(inputs=7, width=8, dimension=5)
    weights = weights_of(NETWORKS[0])
    save_checkpoint(tmp_path, weights, a_card(odds=an_odds_card(narrow)), some_weights(narrow))
    with pytest.raises(InputError, match=rf"does not hold odds: they want 7 .* this bot has {ODDS.inputs}"):
        load_checkpoint(tmp_path)
    save_checkpoint(tmp_path, weights, a_card(odds=an_odds_card()), some_weights(narrow))
    with pytest.raises(InputError, match=r"does not hold odds: .* not float32"):
        load_checkpoint(tmp_path)


def test_odds_of_before_there_were_scales_are_read_with_each_of_them_one(tmp_path):
    odds = some_weights(ODDS)
    older = odds | {
        f"state.out.{name}": odds[f"state.out.{name}"][: ODDS.dimension] for name in ("weight", "bias")
    }
    save_checkpoint(tmp_path / "new", weights_of(NETWORKS[0]), a_card(odds=an_odds_card()), odds)
    save_checkpoint(tmp_path / "old", weights_of(NETWORKS[0]), a_card(odds=an_odds_card()), older)
    new, old = (load_checkpoint(tmp_path / name).odds for name in ("new", "old"))
    row = np.random.default_rng(1).standard_normal(ODDS.inputs).astype(np.float32)
    for h in (1, 7, 24):
        assert old.standing(row, h).scale == 1.0 != new.standing(row, h).scale
        assert np.abs(old.standing(row, h).state - new.standing(row, h).state).max() < 1e-6


ABSURD = {
    "so large that keys overflow": ("out.weight", 3e38),
    "beyond any training": ("in.bias", 5_000.0),
    "nothing but zeros": ("*", 0.0),
    "not finite": ("in.weight", float("nan")),
}


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize(("name", "figure"), ABSURD.values(), ids=ABSURD)
def test_weights_that_give_no_keys_are_refused_in_one_line(tmp_path, network, name, figure):
    weights = {
        key: np.full_like(tensor, figure) if name in ("*", key) else tensor
        for key, tensor in weights_of(network).items()
    }
    save_checkpoint(tmp_path, weights, a_card(network))
    with pytest.raises(InputError, match="does not hold an encoder") as refused:
        load_checkpoint(tmp_path)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("name", "figure"),
    [("log_temperature", 900.0), ("inputs.spread", 0.0), ("inputs.spread", -1.0), ("head.out.bias", 1e30)],
)
def test_weights_that_forecast_nothing_are_refused_in_one_line(tmp_path, name, figure):
    odds = {**some_weights(ODDS)}
    odds[name] = np.full_like(odds[name], figure)
    save_checkpoint(tmp_path, weights_of(NETWORKS[0]), a_card(odds=an_odds_card()), odds)
    with pytest.raises(InputError, match="does not hold odds"):
        load_checkpoint(tmp_path)


def test_a_network_that_looks_further_back_than_bars_are_kept_is_refused(tmp_path):
    network = StreamingTransformer(width=4, heads=1, inner=4, layers=8, attention_bars=200)
    save_checkpoint(tmp_path, weights_of(network), a_card(network))
    with pytest.raises(InputError, match="1024 are kept at most"):
        load_checkpoint(tmp_path)
