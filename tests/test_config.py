import os
from decimal import Decimal

import pytest

from bot.config import Config, as_tree, load
from bot.errors import ConfigError


@pytest.fixture
def file(tmp_path, monkeypatch):
    """Writes a configuration file into an empty working folder."""
    monkeypatch.chdir(tmp_path)

    def write(text, name="config.toml"):
        (tmp_path / name).write_text(text)
        return name

    return write


def loaded(path=None, overrides=None, **environment):
    return load(path, overrides or {}, environment)


def refused(path=None, overrides=None, **environment):
    """The one line that a wrong configuration is told in."""
    with pytest.raises(ConfigError) as error:
        loaded(path, overrides, **environment)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_without_a_file_everything_has_its_documented_default(file):
    config = loaded()
    assert config == Config()
    assert config.run.symbols == ("BTCUSDT", "ETHUSDT")
    assert (config.run.interval, config.run.category) == ("15", "linear")
    assert config.exchange.silence_seconds == 90
    assert (config.memory.size, config.memory.neighbors, config.memory.warmup_bars) == (100_000, 32, 10_000)
    assert config.strategy.name == "historical_similarity"
    assert (config.strategy.horizon_bars, config.strategy.confidence_threshold) == (24, 0.6)
    assert config.broker.starting_cash == Decimal(10_000)
    assert (config.broker.taker_fee, config.broker.maker_fee) == (Decimal("0.00055"), Decimal("0.0002"))


def test_each_mode_has_a_database_of_its_own(file):
    config = loaded()
    assert str(config.database_path("demo")) == "var/demo.db"
    assert str(config.database_path("mainnet")) == "var/mainnet.db"


def test_the_file_in_the_working_folder_is_read_without_being_named(file):
    file("[memory]\nsize = 500\n")
    assert loaded().memory.size == 500


def test_the_environment_overrides_the_file_and_the_command_line_both(file):
    file("[memory]\nsize = 500\nneighbors = 5\nwarmup_bars = 50\n")
    config = loaded(
        overrides={"memory.neighbors": 7, "run.interval": None},
        BOT__MEMORY__NEIGHBORS="6",
        BOT__MEMORY__WARMUP_BARS="60",
        ANOTHER__MEMORY__SIZE="1",
    )
    assert (config.memory.size, config.memory.neighbors, config.memory.warmup_bars) == (500, 7, 60)


def test_lists_in_the_environment_are_written_with_commas(file):
    assert loaded(BOT__RUN__SYMBOLS="SOLUSDT, XRPUSDT").run.symbols == ("SOLUSDT", "XRPUSDT")


def test_money_in_the_file_never_becomes_a_float(file):
    file("[broker]\ntaker_fee = 0.000123456789012345678901\n")
    assert loaded().broker.taker_fee == Decimal("0.000123456789012345678901")
    assert as_tree(loaded())["broker"]["taker_fee"] == "0.000123456789012345678901"


def test_a_strategy_takes_options_of_its_own(file):
    file("[strategy]\nname = 'moving_average_cross'\n[strategy.options]\nfast = 5\nslow = 50\n")
    assert loaded().strategy.options == {"fast": 5, "slow": 50}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[memory]\nsizee = 5\n", "config.toml: unknown key memory.sizee; known here: size, "),
        ("[nothing]\n", "config.toml: unknown key nothing; known here: run, "),
        ("[strategy]\nhorizon_bars = 0\n", "config.toml: strategy.horizon_bars = 0: expected `int` >= 1"),
        ("[run]\ncategory = 'inverse'\n", "config.toml: run.category = inverse: "),
        ("[run]\nsymbols = []\n", "config.toml: run.symbols"),
        (
            "[run]\nsymbols = ['BTCUSDT', 'BTCUSDT']\n",
            "config.toml: run.symbols: a symbol stands there twice",
        ),
        ("[run]\ninterval = '7'\n", "config.toml: run.interval: '7' is none of 1 3 5 15"),
        ("[exchange]\nws_url = 'http://host'\n", "config.toml: exchange.ws_url: 'http://host' must begin"),
        ("[broker]\nstarting_cash = 0\n", "config.toml: "),
        ("[risk]\nposition_fraction = 0.6\nmax_position_fraction = 0.5\n", "config.toml: "),
        ("memory = 5\n", "config.toml: "),
        ("[memory\n", "config.toml: not valid TOML: "),
    ],
)
def test_what_is_wrong_in_a_file_is_told_with_its_key_and_file(file, text, told):
    file(text)
    assert refused().startswith(told)


def test_what_is_wrong_elsewhere_is_told_with_where_it_came_from(file):
    file("[memory]\nsize = 5\n")
    assert refused(BOT__MEMORY__SIZE="many").startswith("environment variable BOT__MEMORY__SIZE: memory.size")
    assert refused(BOT__MEMORY__SIZEE="5").startswith("environment variable BOT__MEMORY__SIZEE: unknown key")
    assert refused(BOT__MEMORY="5").startswith("environment variable BOT__MEMORY: the form is ")
    assert refused(overrides={"run.interval": "7"}).startswith("the command line: run.interval")


def test_a_file_that_was_named_must_be_there(file):
    assert refused("mine.toml") == "mine.toml: no such configuration file"
    assert loaded(file("[memory]\nsize = 9\n", "mine.toml")).memory.size == 9


@pytest.mark.parametrize(
    "text", ["[" * 100_000, "a = " + "[" * 100_000, "a" + ".a" * 100_000 + " = 1", "a = " + "{a=" * 5_000]
)
def test_a_file_nested_deeper_than_any_configuration_is_one_line(file, text):
    file(text)
    assert refused().startswith("config.toml: ")


@pytest.mark.parametrize("digits", ["9" * 5_000, "0x" + "f" * 5_000, "0b" + "1" * 20_000, "-" + "9" * 4_299])
def test_a_whole_number_of_thousands_of_digits_is_one_short_line(file, digits):
    for key in (
        "[memory]\nsize",
        "[risk]\nmax_quote_age_bars",
        "[broker]\ntaker_fee",
        "[strategy.options]\nfast",
    ):
        file(f"{key} = {digits}\n")
        assert len(refused()) < 400


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_a_byte_order_mark_and_carriage_returns_are_no_mistake(tmp_path, file, mark, end):
    text = f"{mark}# mine{end}[memory]{end}size = 500{end}"
    (tmp_path / "config.toml").write_bytes(text.encode())
    assert loaded().memory.size == 500


@pytest.mark.parametrize("name", ["/dev/zero", "/dev", "pipe", "big.toml", "a\0b", "loop", "x" * 5_000])
def test_what_is_no_file_of_a_configurations_size_is_one_line(tmp_path, file, name):
    os.mkfifo(tmp_path / "pipe")
    os.symlink("loop", tmp_path / "loop")
    (tmp_path / "big.toml").write_text("# much\n" * 1_000_000)
    (tmp_path / "config.toml").write_text("")
    assert refused(name)
    assert loaded("/dev/null") == Config()


@pytest.mark.parametrize("key", ["rest_url", "ws_url"])
@pytest.mark.parametrize(
    "host",
    [
        "me:secret@host", "secret@host", ":secret@host", "host/path?key=secret", "host/v5", "host#secret", "",
        "host:0", "host:99999", "host:x", "ho st", "[::1", "host\n", "@",
    ],
)  # fmt: skip
def test_a_url_is_a_host_alone_and_a_password_in_it_is_not_repeated(file, key, host):
    scheme = "https" if key == "rest_url" else "wss"
    told = refused(None, {f"exchange.{key}": f"{scheme}://{host}"})
    assert f"exchange.{key}" in told
    if "@" in host:
        assert "secret" not in told
    assert loaded(None, {f"exchange.{key}": f"{scheme}://127.0.0.1:8080"})
    assert loaded(None, {f"exchange.{key}": f"{scheme}://[::1]:8080/"})


@pytest.mark.parametrize(
    "key", ["run.database", "run.recordings", "run.interval", "strategy.name", "model.checkpoint"]
)
def test_no_text_holds_what_cannot_be_printed(file, key):
    for value in ("a\0b", "a\nb", "\x1b[31m", "\ud800"):
        assert key in refused(None, {key: value})
