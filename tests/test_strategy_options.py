"""A strategy's declared options: filled from every side, checked, and refused in one line that names the key."""

import json
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import pytest
from msgspec import Meta, Struct

from bot.cli import main
from bot.config import load
from bot.errors import ConfigError
from bot.sessions.assembly import load_strategy, strategy_class
from bot.strategy import Situation, StrategyConfig
from bot.strategy_options import declared_options, described
from bot.trading.events import Signal
from strategies import STRATEGIES


class Declares:
    """Holds, with options of every kind."""

    needs_memory = False

    class Options(Struct, frozen=True, kw_only=True):
        bars_back: Annotated[int, Meta(ge=1, le=500)]
        threshold: Annotated[float, Meta(gt=0)] = 0.5
        side: Literal["long", "short"] = "long"
        other: str = "ETHUSDT"
        eager: bool = False

    def __init__(self, config: StrategyConfig) -> None:
        self.options = config.read_options(self.Options)

    def decide(self, situation: Situation) -> Signal:
        return Signal(action="hold", reason="options: none")


class DeclaresADataclass(Declares):
    """The same as a dataclass."""

    @dataclass(frozen=True)
    class Options:
        bars_back: Annotated[int, Meta(ge=1)] = 7


class DeclaresNothing(Declares):
    """Takes what it is given, as it is."""

    Options = None

    def __init__(self, config: StrategyConfig) -> None:
        self.options = config.options


class DeclaresWrongly(Declares):
    Options = {"bars_back": 3}


OWN = {
    name: f"tests.test_strategy_options:{name}"
    for name in ("Declares", "DeclaresADataclass", "DeclaresNothing", "DeclaresWrongly")
}


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def loaded(name, environment=None, **options):
    overrides = {f"strategy.options.{key}": value for key, value in options.items()}
    config = load(None, {"strategy.name": name, **overrides}, environment or {})
    strategy: Any = load_strategy(config, {**STRATEGIES, **OWN})
    return strategy.options


def test_the_file_the_environment_and_the_command_line_fill_them_the_latter_first(tmp_path):
    (tmp_path / "config.toml").write_text(
        "[strategy.options]\nbars_back = 3\nthreshold = 0.25\nside = 'short'\neager = true\n"
    )
    found = loaded(
        "Declares", {"BOT__STRATEGY__OPTIONS__THRESHOLD": "0.75", "BOT__STRATEGY__OPTIONS__OTHER": "5"}
    )
    assert found == Declares.Options(bars_back=3, threshold=0.75, side="short", other="5", eager=True)
    found = loaded("Declares", {"BOT__STRATEGY__OPTIONS__BARS_BACK": "4"}, bars_back="5", eager="false")
    assert found == Declares.Options(bars_back=5, threshold=0.25, side="short", eager=False)


def test_python_fills_them():
    assert Declares(StrategyConfig(options={"bars_back": 9})).options == Declares.Options(bars_back=9)
    assert loaded("DeclaresADataclass").bars_back == 7


def test_a_strategy_without_declared_options_is_given_what_was_written():
    assert loaded("DeclaresNothing", x="1", anything=2) == {"x": "1", "anything": 2}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "strategy.options.bars_back: must be given, it has no default (int 1 to 500)"),
        ({"bars_back": 0}, "strategy.options.bars_back = 0: expected `int` >= 1"),
        ({"bars_back": "many"}, "strategy.options.bars_back = many: expected `int`, got `str`"),
        ({"bars_back": 2.5}, "strategy.options.bars_back = 2.5: expected `int`, got `float`"),
        ({"bars_back": 1, "threshold": "nan"}, "strategy.options.threshold = nan: "),
        ({"bars_back": 1, "threshold": 0}, "strategy.options.threshold = 0: expected `float` > 0"),
        ({"bars_back": 1, "side": "up"}, "strategy.options.side = up: invalid enum value 'up'"),
        ({"bars_back": 1, "other": 7}, "strategy.options.other = 7: expected `str`, got `int`"),
        ({"bars_bakc": 1}, "no option of this strategy, which has bars_back, threshold, side, other, eager"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_one_line_that_names_the_key(options, said):
    with pytest.raises(ConfigError) as caught:
        loaded("Declares", **options)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_options_that_contradict_each_other_are_one_line():
    with pytest.raises(ConfigError, match=r"strategy.options: fast \(100\) must be below slow \(100\)"):
        loaded("moving_average_cross", fast=100)


def test_a_strategy_that_takes_none_says_so():
    with pytest.raises(ConfigError, match=r"strategy\.options\.x: the strategy takes no options"):
        loaded("buy_and_hold", x=1)


def test_options_that_are_neither_a_struct_nor_a_dataclass_are_refused():
    with pytest.raises(
        ConfigError, match=r"DeclaresWrongly\.Options is neither a msgspec Struct nor a dataclass"
    ):
        loaded("DeclaresWrongly")


def test_they_are_described_with_type_default_and_range():
    options = {
        option.name: (option.type, option.default, option.range) for option in described(Declares.Options)
    }
    assert options == {
        "bars_back": ("int", None, "1 to 500"),
        "threshold": ("float", 0.5, "above 0"),
        "side": ("long or short", "long", ""),
        "other": ("str", "ETHUSDT", ""),
        "eager": ("bool", False, ""),
    }
    assert [option.required for option in described(Declares.Options)] == [True, False, False, False, False]


def test_a_command_ends_with_2_and_names_the_key(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("BOT__STRATEGY__OPTIONS__FAST", "0")
    lines = ["start_ms,open,high,low,close,volume,turnover"]
    lines += [f"{index * 3_600_000},100,101,99,100,5," for index in range(20)]
    (tmp_path / "BTCUSDT_x_1h_.csv").write_text("\n".join(lines))
    arguments = [
        "backtest",
        "--data",
        "BTCUSDT_x_1h_.csv",
        "--no-funding",
        "--strategy",
        "moving_average_cross",
    ]
    assert main(arguments, STRATEGIES) == 2
    assert (
        capsys.readouterr()
        .err.splitlines()[-1]
        .startswith("error: strategy.options.fast = 0: expected `int` >= 1")
    )


def test_options_on_the_command_line_reach_the_strategy_and_wrong_ones_are_refused(capsys):
    arguments = ["strategies", "--strategy", OWN["Declares"], "--json"]
    assert main([*arguments, "--option", "bars_back=9", "--option", "side=short"], STRATEGIES) == 0
    listed = json.loads(capsys.readouterr().out)
    assert listed["version"] == 1
    (mine,) = (strategy for strategy in listed["strategies"] if strategy["configured"])
    assert (mine["given"], mine["problem"]) == ({"bars_back": "9", "side": "short"}, "")
    assert mine["options"][0] == {
        "name": "bars_back", "type": "int", "default": None, "required": True, "range": "1 to 500",
    }  # fmt: skip
    with pytest.raises(SystemExit) as caught:
        main([*arguments, "--option", "bars_back"], STRATEGIES)
    assert caught.value.code == 2
    assert "'bars_back' is not KEY=VALUE" in capsys.readouterr().err


def test_strategies_are_listed_with_options_defaults_and_ranges(capsys):
    assert main(["strategies"], STRATEGIES) == 0
    told = capsys.readouterr().out
    for name in STRATEGIES:
        assert f"\n{name}" in told
    assert "historical_similarity (configured)" in told
    assert "fast    int        20  1 to 999" in told
    assert "Long while there is no position, nothing ever after." in told


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("nope", "none of buy_and_hold"),
        ("nope:Nothing", "no module 'nope'"),
        (OWN["Declares"], "bars_back: must be"),
    ],
)
def test_one_that_cannot_be_used_is_listed_with_the_reason_and_hides_no_other(capsys, name, said):
    assert main(["strategies", "--strategy", name], STRATEGIES) == 0
    told = capsys.readouterr().out
    assert f"{name} (configured)\ncannot be used: strategy." in told
    assert said in told
    assert "moving_average_cross" in told


def test_every_shipped_strategy_declares_its_options():
    for name in STRATEGIES:
        assert declared_options(strategy_class(name, STRATEGIES)) is not None
