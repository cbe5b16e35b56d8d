"""What a strategy's calls raise beside the errors of stops (pipeline.stop_refusals) and of its slot (pipeline.client_slot)."""

from pipeline.errors import StoplineError, UserError


class RequestsFull(StoplineError):
    """A requests ring is full: risk has not taken the last ones yet. Nothing was sent; try again later."""

    def __init__(self, capacity: int) -> None:
        super().__init__(f"{capacity} requests wait for risk and no more fit: nothing was sent, try again later")
        self.capacity = capacity


class RequestError(UserError):
    """An order that cannot be meant."""


class ClientClosed(StoplineError):
    """The client was closed, or is a forked child's copy, which holds no slot."""


class Fenced(StoplineError):
    """The supervisor has replaced this process: it must write nothing more."""
