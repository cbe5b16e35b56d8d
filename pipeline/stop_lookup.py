"""Where a stop is found by its id: what a request to move or cancel it must say of it."""

import numpy as np

from pipeline.stop_request import StopPlace


def find_stop(stops: np.ndarray, stop_id: int, instrument_count: int) -> StopPlace | None:
    """Return a stop that is armed, or that has fired and not ended; None where there is none of this id.

    Args:
        stops: STOP_ROW, of the whole instance.
        stop_id: The stop.
        instrument_count: How many instruments there are.
    """
    found = np.flatnonzero(stops["stop_id"] == stop_id)
    if len(found) == 0:
        return None
    stop = stops[found[0]]
    strategy = int(stop["position"]) // instrument_count
    return StopPlace(stop_id, int(stop["instrument"]), strategy, int(stop["kind"]), int(stop["watch"]))
