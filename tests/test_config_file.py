import re
import tomllib
from pathlib import Path

import msgspec

from bot import config as configuration
from bot.config import Config

FILE = Path(__file__).parents[1] / "config.toml"


def test_the_shipped_file_says_the_defaults():
    assert configuration.load(FILE, {}, {}) == Config()


def test_the_shipped_file_documents_every_key():
    written = tomllib.loads(re.sub(r"^# (\w+ = )", r"\1", FILE.read_text(), flags=re.MULTILINE))
    known = msgspec.to_builtins(Config())
    assert {section: set(keys) for section, keys in written.items()} == {
        section: set(keys) for section, keys in known.items()
    }
