"""Where strategies are found: those that come with the bot, and a person's own beside the configuration."""

import importlib.util
import os
import sys
from pathlib import Path

_NAME = "strategies"
_HERE = Path(__file__).resolve().parents[1]
# A wheel holds them by a name of their own (setup.py); a clone beside this package.
_FOLDERS = (_HERE / "paper_trading_bot_strategies", _HERE / _NAME)


def shipped_strategies() -> dict[str, str]:
    """Their names, as a configuration uses them, to ``module:Class``. From now on `strategies` is their package."""
    if (package := sys.modules.get(_NAME)) is None or Path(package.__file__ or "").parent not in _FOLDERS:
        folder = next(folder for folder in _FOLDERS if folder.is_dir())
        spec = importlib.util.spec_from_file_location(
            _NAME, folder / "__init__.py", submodule_search_locations=[str(folder)]
        )
        assert spec is not None
        assert spec.loader is not None
        package = importlib.util.module_from_spec(spec)
        sys.modules[_NAME] = package
        spec.loader.exec_module(package)
    strategies: dict[str, str] = package.STRATEGIES
    return strategies


def look_beside(config_path: Path) -> None:
    """Let ``module:Class`` mean the modules of the configuration's folder first; its `strategies` adds to ours."""
    # As os.path has it: whether there is such a home, or no end of links, is said once the file is opened.
    folder = Path(os.path.realpath(os.path.expanduser(config_path))).parent
    if str(folder) not in sys.path[:1]:
        sys.path.insert(0, str(folder))
    own = str(folder / _NAME)
    package = sys.modules.get(_NAME)
    if package is not None and own not in package.__path__:
        package.__path__.append(own)
