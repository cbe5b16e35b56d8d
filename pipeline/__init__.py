"""Stopline's stages: ingest, risk, execution and the sidecar, and what starts and watches them."""
