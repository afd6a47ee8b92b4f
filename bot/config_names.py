"""Earlier names of settings and of their values, which files, environments and recordings may hold."""

from typing import Any

KEYS = {
    "broker.fills": "broker.fill_preset",
    "risk.stand_down_claims": "risk.brier_guard_forecasts",
}
"""Earlier name to present one. Recordings hold the earlier ones for ever; elsewhere they go with the next release."""

_VALUES = {"broker.fill_preset": {"brutal": "pessimistic"}}


def present_name(dotted: str) -> str:
    """The setting that ``section.key`` is called now."""
    return KEYS.get(dotted, dotted)


def present_value(dotted: str, value: Any) -> Any:
    """What a setting's value is called now; ``dotted`` is its present name."""
    return _VALUES.get(dotted, {}).get(value, value) if isinstance(value, str) else value


def with_present_names(tree: dict[str, Any]) -> list[str]:
    """Rename in the tree what has an earlier name; a present one beside it stands. Returns what was renamed."""
    renamed = []
    for earlier, dotted in KEYS.items():
        section, _, key = earlier.partition(".")
        branch = tree.get(section)
        if isinstance(branch, dict) and key in branch:
            branch.setdefault(dotted.partition(".")[2], branch.pop(key))
            renamed.append(earlier)
    for dotted in _VALUES:
        section, _, key = dotted.partition(".")
        branch = tree.get(section)
        if isinstance(branch, dict) and key in branch:
            branch[key] = present_value(dotted, branch[key])
    return renamed
