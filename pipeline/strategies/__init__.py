"""Strategies that ship with Stopline, each a process of its own that trades through `pipeline.client`."""
