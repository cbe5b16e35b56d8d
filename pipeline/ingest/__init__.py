"""Stage ingest: market data in: feeds, hygiene, the ticks ring."""
