import gzip
import json
from decimal import Decimal

import pytest
from msgspec.structs import replace

from bot.cli import main
from bot.market import plain
from bot.store.checkpoints.folder import load_checkpoint
from tests.model.walks import walk

BARS = 4_000


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def a_file(folder, symbol="BTCUSDT", seed=1, bars=BARS):
    path = folder / f"{symbol}_walk_15m.csv.gz"
    rows = [
        f"{bar.start_ms},{','.join(plain(Decimal(x)) for x in (bar.open, bar.high, bar.low, bar.close))},1,"
        for bar in walk(bars, seed=seed, symbol=symbol)
    ]
    header = "start_ms,open,high,low,close,volume,turnover"
    path.write_bytes(gzip.compress("\n".join([header, *rows, ""]).encode()))
    return path


def test_training_on_files_writes_a_checkpoint_that_says_so(elsewhere, capsys):
    files = [a_file(elsewhere), a_file(elsewhere, "ETHUSDT", seed=2)]
    arguments = ["train", "--data", str(files[0]), "--data", str(files[1]), "--steps", "2", "--json"]
    arguments += ["--odds-steps", "2"]
    assert main([*arguments, "--out", "one"], {}) == 0
    told = json.loads(capsys.readouterr().out)
    card = load_checkpoint(elsewhere / "one").card
    assert told["folder"] == "one"
    assert told["weights_sha256"] == card.weights_sha256
    assert told["best"]["step"] == card.steps == 2
    assert [one.symbol for one in card.trained_on] == ["BTCUSDT", "ETHUSDT"]
    assert [one.symbol for one in card.odds.trained_on] == ["BTCUSDT", "ETHUSDT"]
    assert [row["horizon_bars"] for row in told["odds"]] == [1, 4, 24]
    for row in told["odds"]:
        assert row["blend"] < max(row["head"], row["recall"]) + 1e-6
    (seen, _), (unseen, _) = card.odds.trained_on, card.odds.validated_on
    # Neither states nor outcomes of the two overlap.
    assert unseen.first_start_ms - seen.last_start_ms > 72 * 900_000

    assert main([*arguments, "--out", "two"], {}) == 0
    for name in ("weights.safetensors", "checkpoint.json", "report.md"):
        assert (elsewhere / "one" / name).read_bytes() == (elsewhere / "two" / name).read_bytes()


def test_bars_to_validate_on_come_later_than_a_keys_reach_after_those_trained_on(elsewhere, capsys):
    file = a_file(elsewhere)
    assert main(["train", "--data", str(file), "--steps", "1"], {}) == 0
    assert "WindowNetwork" in capsys.readouterr().out
    card = load_checkpoint(elsewhere / "var" / "checkpoint").card
    (seen,), (unseen,) = card.trained_on, card.validated_on
    assert unseen.first_start_ms - seen.last_start_ms > 305 * 900_000
    assert unseen.last_start_ms == walk(BARS)[-1].start_ms
    assert 0.8 < seen.bars / (BARS - 257) < 0.86


def test_only_bars_within_from_and_to_are_used(elsewhere):
    file = a_file(elsewhere)
    assert main(["train", "--data", str(file), "--steps", "1", "--to", "2024-02-01"], {}) == 0
    card = load_checkpoint(elsewhere / "var" / "checkpoint").card
    assert card.validated_on[0].last_start_ms == 1_706_745_600_000 - 900_000


def test_training_uses_the_stored_bars_where_no_file_is_named(elsewhere, capsys):
    file = a_file(elsewhere)
    assert main(["import", str(file)], {}) == 0
    assert main(["train", "--steps", "1", "--symbols", "BTCUSDT", "--interval", "15"], {}) == 0
    card = load_checkpoint(elsewhere / "var" / "checkpoint").card
    assert [one.symbol for one in card.trained_on] == ["BTCUSDT"]


def test_odds_are_trained_beside_an_encoder_that_stays_as_it_is(elsewhere, capsys):
    assert main(["train", "--simulated", "1", "--steps", "1", "--out", "shapes"], {}) == 0
    assert "without odds: there are no bars" in capsys.readouterr().out
    files = [
        f"--data={a_file(elsewhere, symbol, seed)}" for seed, symbol in enumerate(("BTCUSDT", "ETHUSDT"))
    ]
    arguments = ["train", *files, "--odds-only", "shapes", "--odds-steps", "1", "--out", "both"]
    assert main(arguments, {}) == 0
    assert "odds 24 bars ahead" in capsys.readouterr().out
    shapes, both = load_checkpoint(elsewhere / "shapes"), load_checkpoint(elsewhere / "both")
    assert shapes.odds is None
    assert both.odds is not None
    for name, weights in shapes.weights.items():
        assert both.weights[name].tobytes() == weights.tobytes()
    assert replace(both.card, odds=None, weights_sha256="") == replace(shapes.card, weights_sha256="")


def test_too_few_bars_for_odds_are_told_and_refused_where_odds_were_all_that_was_asked_for(elsewhere, capsys):
    file = a_file(elsewhere)
    assert main(["train", "--data", str(file), "--steps", "1", "--out", "one"], {}) == 0
    assert "without odds: odds need 3,456 moments to train on" in capsys.readouterr().out
    assert main(["train", "--data", str(file), "--odds-only", "one", "--out", "two"], {}) == 2
    assert "odds need 3,456 moments" in one_line(capsys)
    assert not (elsewhere / "two" / "weights.safetensors").exists()


def test_simulated_shapes_alone_need_no_bars(elsewhere, capsys):
    assert main(["train", "--simulated", "1", "--steps", "1", "--network", "transformer"], {}) == 0
    assert "StreamingTransformer" in (told := capsys.readouterr().out)
    assert "trained on simulated shapes only" in told


def test_a_users_mistake_is_one_line_and_writes_nothing(elsewhere, capsys):
    assert main(["train"], {}) == 2
    assert "there is no history at var/history.db yet; fetch or import bars" in one_line(capsys)
    short = a_file(elsewhere, bars=800)
    assert main(["train", "--data", str(short)], {}) == 2
    assert "--data: too few unbroken bars" in one_line(capsys)
    assert main(["import", str(short)], {}) == 0
    capsys.readouterr()
    assert main(["train", "--symbols", "ETHUSDT", "--interval", "15"], {}) == 2
    assert "history.db has no linear bars of ETHUSDT 15" in one_line(capsys)
    assert not (elsewhere / "var" / "checkpoint").exists()


def test_a_folder_that_cannot_be_written_is_refused(elsewhere, capsys):
    (elsewhere / "taken").write_text("a file")
    assert main(["train", "--simulated", "1", "--steps", "1", "--out", "taken"], {}) == 2
    assert "taken cannot be written" in one_line(capsys)


def one_line(capsys):
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    return error
