"""Scopes in words: whose limits and trading state they are (topology.ACCOUNT, scope_of_strategy, scope_of_instrument)."""

from pipeline.account_view import scope_names
from pipeline.instruments import Instruments
from pipeline.topology import ACCOUNT, Sizes, scope_of_instrument, scope_of_strategy


class Scopes:
    """The scopes of one instance by name.

    Args:
        sizes: Of the instance.
        instruments: Its table.
    """

    def __init__(self, sizes: Sizes, instruments: Instruments) -> None:
        self.sizes = sizes
        self.instruments = instruments
        self._names = scope_names(sizes, instruments)

    def name(self, scope: int) -> str:
        """Return a scope as people call it: "account", "strategy 1", or the symbol."""
        return self._names[scope] if 0 <= scope < len(self._names) else f"scope {scope}"

    def of(self, strategy: int | None = None, symbol: str | None = None) -> int:
        """Return the scope of a strategy's slot, or of an instrument; of the account where neither is given.

        Raises:
            InstrumentError: There is no such symbol.
        """
        if symbol is not None:
            return scope_of_instrument(self.sizes, self.instruments.index(symbol))
        return ACCOUNT if strategy is None else scope_of_strategy(strategy)

    def strategy_of(self, scope: int) -> int | None:
        """Return the strategy's slot whose scope it is, None where it is another's."""
        return scope - 1 if ACCOUNT < scope <= self.sizes.book_count else None
