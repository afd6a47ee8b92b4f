"""What docs/strategies.md shows is run, from its first line to its last."""

import re
import subprocess
import sys
from pathlib import Path

from tests.bot_process import environment

PAGE = Path(__file__).parents[1] / "docs" / "strategies.md"


def test_the_examples_of_the_page_on_strategies_run(tmp_path):
    blocks = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    assert len(blocks) == 4
    script = tmp_path / "mine.py"
    script.write_text("\n".join(blocks))
    ended = subprocess.run(
        [sys.executable, str(script)],
        cwd=tmp_path,
        env=environment(PYTHONPATH=str(PAGE.parents[1])),
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert ended.returncode == 0, ended.stderr
