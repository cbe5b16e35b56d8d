"""Command-line tools: run, ctl, record and their like."""
