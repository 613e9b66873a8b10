"""Protocols: how a method is applied to targets and judged; each yields records."""
