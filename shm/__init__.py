"""Shared-memory mechanism: segment, rings, rows, counters, histograms. Knows nothing of trading."""
