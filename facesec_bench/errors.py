"""Errors that a user can act on: what was found, what was wanted, what to do."""

from __future__ import annotations


class FacesecError(Exception):
    """Root of every error this project raises on purpose; the command line prints it without a traceback."""


class AssetError(FacesecError):
    """A weight or data file is missing, corrupt or refused."""


class DataError(FacesecError):
    """A data set cannot serve: no folder, no faces, too few photos or identities."""


class TargetError(FacesecError):
    """A target cannot be loaded or is not what it claims (shape, parity, gradient)."""


class CalibrationError(FacesecError):
    """A threshold cannot be calibrated at the false accept rate asked for."""


class MissingPackageError(FacesecError):
    """An optional library is not installed."""


class ConfigError(FacesecError):
    """A configuration value is out of range or contradicts another."""


class TrainingError(FacesecError):
    """A training broke down: a loss or gradient that is missing, NaN or infinite."""


class AccessError(FacesecError):
    """An attack asked a victim for what its access level forbids, or more often than its budget allows."""
