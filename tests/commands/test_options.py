"""Every command is one module: arguments, typed options made from them, and a run."""

import argparse
import re
import shlex
import subprocess
import sys

import msgspec
import pytest

from bot.commands.options import CommonOptions, options_of
from bot.commands.parser import COMMANDS, complete_parser, module_of

# No result of a command, but what argparse itself does.
OWN = {"help", "version"}


PROGRAM, BY_COMMAND = complete_parser()
PARSERS = {None: PROGRAM, **BY_COMMAND}


@pytest.mark.parametrize("command", [None, *COMMANDS])
def test_options_have_a_field_for_every_argument_and_no_other(command):
    options = module_of(command).Options
    arguments = {action.dest for action in PARSERS[command]._actions} - OWN
    assert set(options.__struct_fields__) == arguments | {"command"}
    assert options.__struct_config__.frozen
    assert issubclass(options, CommonOptions)


@pytest.mark.parametrize("command", [None, *COMMANDS])
def test_what_help_calls_a_default_is_the_default_of_the_options(command):
    fields = {field.name: field for field in msgspec.structs.fields(module_of(command).Options)}
    for action in PARSERS[command]._actions:
        said = re.search(r"\b(?:default: )(\S+?)\)?$", action.help or "")
        default = fields[action.dest].default if action.dest in fields else None
        if default in (None, False, (), "", msgspec.NODEFAULT):
            continue
        if action.dest not in ("source", "trials"):
            assert said is not None, action
            assert said[1] == str(default), action


def test_what_was_not_given_has_the_options_own_default():
    args = PARSERS["train"].parse_args(["--steps", "3"])
    options = options_of(module_of("train").Options, args)
    assert (options.steps, options.pairs, options.data, options.json) == (3, 768, (), False)


def test_what_is_no_value_of_a_field_makes_no_options():
    with pytest.raises(msgspec.ValidationError, match="steps"):
        options_of(module_of("train").Options, argparse.Namespace(steps="three"))


def test_no_help_waits_for_what_only_a_running_command_needs():
    code = (
        "import sys\nfrom bot import cli\nfrom bot.commands.parser import complete_parser\n"
        "complete_parser()[0].format_help()\n"
        "heavy = 'numpy numba faiss torch pandas ccxt pybit aiohttp aiosqlite rich structlog bot.config'.split()\n"
        "print([name for name in heavy if name in sys.modules])"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout == "[]\n"


@pytest.mark.parametrize("command", COMMANDS)
def test_the_examples_of_a_command_are_command_lines(command):
    examples = module_of(command).EXAMPLES
    assert examples[0].startswith(command)
    for example in examples:
        words = shlex.split(example.replace("\\\n", " ").partition(" | ")[0])
        args = PROGRAM.parse_args(words)
        assert options_of(module_of(args.command).Options, args).command == words[0]
