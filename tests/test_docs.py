"""The reference of the command line is what the parsers say."""

from docs.commands import PAGE, page


def test_the_reference_of_commands_is_up_to_date(monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    assert PAGE.read_text() == page(), "make commands"
