"""A reading command on one database, as if the command line named it."""

from pathlib import Path
from types import ModuleType
from typing import Any

from bot.config import Config, RunConfig


def show(command: ModuleType, path: Path, **options: Any) -> int:
    """Run ``command`` with these options; its exit code."""
    config = Config(run=RunConfig(database=str(path), runs=str(path.parent / "runs")))
    code: int = command.run(command.Options(**options), config, {})
    return code
