"""Stage sidecar: metrics and history, off the hot path."""
