"""Latencies for people: their names in the reports, and durations with a fitting unit."""

#: What the histograms of the way from tick to order are called.
HOPS = {"ingest_to_risk": "ingest to risk", "risk_to_execution": "risk to execution", "tick_to_order": "tick to order"}


def duration_text(value_ns: int) -> str:
    """Write nanoseconds with three digits or so and a fitting unit."""
    value, unit = float(value_ns), "ns"
    for larger in ("µs", "ms", "s"):
        if value < 999.5:
            break
        value, unit = value / 1000, larger
    return f"{value:.0f} {unit}" if value >= 99.5 or unit == "ns" else f"{value:.1f} {unit}"
