"""Benchmarks: one file per question, one harness."""
