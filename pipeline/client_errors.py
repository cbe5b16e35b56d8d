"""What a strategy's calls raise beside the errors of stops (pipeline.stop_refusals) and of its slot (pipeline.client_slot)."""

from pipeline.errors import OrderValidationError, StoplineError


class RequestsFull(StoplineError):
    """A requests ring is full: risk has not taken the last ones yet. Nothing was sent; try again later."""

    retryable = True

    def __init__(self, capacity: int) -> None:
        super().__init__(f"{capacity} requests wait for risk and no more fit: nothing was sent, try again later")
        self.capacity = capacity


class RequestError(OrderValidationError):
    """An order that cannot be meant: nothing was sent."""


class ClientClosed(StoplineError):
    """The client was closed, or is a forked child's copy, which holds no slot."""


class Fenced(StoplineError):
    """The supervisor has replaced this process: it must write nothing more."""
