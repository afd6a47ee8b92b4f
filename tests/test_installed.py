"""The bot as an installed command: from its wheel, without the repository, in a folder of somebody else's."""

import math
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

from tests.bot_process import ROOT, environment

OWN = """
from bot.strategy import Signal

class Own:
    needs_memory = False

    def __init__(self, config):
        self.config = config

    def decide(self, situation):
        return Signal(action="hold", reason="one's own")
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an environment's programs that holds the wheel; what it depends on is lent by this one."""
    folder = tmp_path_factory.mktemp("installed")
    build = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "wheel", "--no-deps"]
    source = folder / "source"
    for name in ("bot", "strategies"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    subprocess.run(
        [*build, "--no-build-isolation", "--wheel-dir", str(folder), str(source)],
        check=True,
        capture_output=True,
    )
    (wheel,) = folder.glob("*.whl")
    venv.create(folder / "env", symlinks=True)
    lent = Path(sysconfig.get_path("purelib"))
    purelib = folder / "env" / lent.relative_to(sys.prefix)
    (purelib / "lent.pth").write_text(f"{lent}\n")
    subprocess.run(
        [*build[:-2], "install", "--no-deps", "--no-index", f"--target={purelib}", str(wheel)], check=True
    )
    # `--target` puts programs beside the packages.
    return purelib / "bin"


def a_file(path: Path) -> Path:
    closes = [100 + 10 * math.sin(index / 9) for index in range(700)]
    rows = (
        f"{index * 3_600_000},{close:.2f},{close + 1:.2f},{close - 1:.2f},{close:.2f},1000,"
        for index, close in enumerate(closes)
    )
    path.write_text("\n".join(("start_ms,open,high,low,close,volume,turnover", *rows)))
    return path


def test_an_installed_bot_needs_no_repository(installed, tmp_path):
    # Somebody else's package of the same name is in the way, wherever one looks from.
    (tmp_path / "strategies").mkdir()
    (tmp_path / "strategies" / "__init__.py").write_text("raise RuntimeError('not the shipped ones')\n")
    bars = a_file(tmp_path / "BTCUSDT_x_1h.csv")
    python = installed.parents[3] / "bin" / "python"

    def ran(*command: str) -> str:
        ended = subprocess.run(
            [*command], cwd=tmp_path, env=environment(BOT__MEMORY__WARMUP_BARS="300"),
            capture_output=True, text=True, timeout=120,
        )  # fmt: skip
        assert ended.returncode == 0, (command, ended.stderr)
        return ended.stdout

    program = [str(python), str(installed / "paper-trading-bot")]
    assert "2 bars" in ran(*program, "--demo", "--max-bars", "2")
    # What the program says to type next can be typed.
    assert "usage: paper-trading-bot " in ran(*program, "--help")
    assert "  paper-trading-bot explain --db " in ran(*program, "--demo", "--max-bars", "1")
    assert "bars decided" in ran(str(python), "-m", "bot", "backtest", "--data", str(bars), "--name", "one")
    assert "equity" in ran(*program, "report", "--run", "one").lower()
    assert "decision" in ran(*program, "explain", "--run", "one")
    # A strategy of one's own is looked up beside the configuration file, in a package of whatever name.
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "config.toml").write_text('[strategy]\nname = "strategies.own:Own"\n')
    (tmp_path / "mine" / "strategies").mkdir()
    (tmp_path / "mine" / "strategies" / "own.py").write_text(OWN)
    config = ("--config", "mine/config.toml")
    assert "hold 400" in ran(*program, "backtest", *config, "--data", str(bars), "--name", "own")
    assert "one's own" in ran(*program, "explain", *config, "--run", "own")
    where = ran(
        str(python), "-c", "import bot, bot.shipped as s; s.shipped_strategies(); print(bot.__file__)"
    )
    assert str(ROOT) not in where
