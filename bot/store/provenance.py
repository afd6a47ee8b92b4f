"""What the digits of a session's rows depend on besides its input: sources, versions and the machine."""

import hashlib
import inspect
import platform
from importlib.metadata import version
from pathlib import Path

from bot import __version__
from bot.strategy import Strategy


def strategy_path(strategy: Strategy) -> str:
    """``module:Class``, by which a replay finds the same strategy again."""
    return f"{type(strategy).__module__}:{type(strategy).__qualname__}"


def made_with(strategy: Strategy) -> dict[str, str]:
    """Versions, sources and machine on which the digits of a session's rows depend."""
    return {
        "bot": __version__,
        "bot's source": _digest(*sorted(Path(__file__).parents[1].rglob("*.py"))),
        "strategy's source": strategy_source(strategy),
        "python": platform.python_version(),
        "numpy": version("numpy"),
        "faiss": version("faiss-cpu"),
        "numba": version("numba"),
        "machine": platform.machine(),
    }


def strategy_source(strategy: Strategy) -> str:
    """What names the text of the file that a strategy's class stands in."""
    return _digest(Path(inspect.getfile(type(strategy))))


def _digest(*paths: Path) -> str:
    return hashlib.sha256(b"".join(path.read_bytes() for path in paths)).hexdigest()[:16]
