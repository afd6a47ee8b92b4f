"""What docs/python.md shows is run, from its first line to its last, by who has nothing but a file of bars."""

import re
import subprocess
import sys
from pathlib import Path

from tests.api import waves
from tests.bot_process import environment

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def test_the_examples_of_the_documentation_run(tmp_path):
    blocks = BLOCK.findall((ROOT / "docs" / "python.md").read_text())
    assert len(blocks) > 5
    waves.write(tmp_path)
    script = tmp_path / "examples.py"
    script.write_text("\n".join(blocks))
    ended = subprocess.run(
        [sys.executable, str(script)],
        cwd=tmp_path,
        env=environment(PYTHONPATH=str(ROOT)),
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert ended.returncode == 0, ended.stderr
    assert "Reversal on BTCUSDT 60" in ended.stdout
    assert (tmp_path / "reversal.html").exists()
