"""Limits as config.toml has them, for tests: all of them "unlimited", but for those that are given."""

from pipeline.tables import LIMIT_NAMES

UNLIMITED = '"unlimited"'
#: Every limit, written out as none.
FREE = dict.fromkeys(LIMIT_NAMES, "unlimited")


def limits_toml(section: str, **given: str) -> str:
    """Return a section with every limit.

    Args:
        section: "risk" or "risk.strategy".
        given: values by limit, as TOML.
    """
    lines = [f"{name} = {given.get(name, UNLIMITED)}" for name in LIMIT_NAMES]
    return "\n".join([f"[{section}]", *lines, ""])


#: The least that a configuration of the simulator may say.
MINIMAL = (
    limits_toml("risk", max_order_quantity='"1"', max_order_notional='"1"')
    + limits_toml("risk.strategy")
    + """[[instruments]]
symbol = "AAPL"
tick_size = "0.01"
lot_size = "1"
start_price = "100.00"
"""
)
