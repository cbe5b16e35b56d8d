"""Feeds: where ticks come from. Each fills chunks of TICK for the ingest kernel."""
