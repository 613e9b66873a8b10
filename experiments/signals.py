"""A scheduler's kill ends a command as Ctrl-C does, so that it says what is left and closes what is open."""

from __future__ import annotations

import signal


def end_as_by_hand() -> None:
    """From now on SIGTERM raises KeyboardInterrupt."""
    signal.signal(signal.SIGTERM, _interrupt)


def _interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt
