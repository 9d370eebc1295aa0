"""The error family: whose problem is it, what was seen, what to do."""


class MscVisionError(Exception):
    """Base of every error raised on purpose, so a caller can catch one name."""


class InvalidArgumentError(MscVisionError, ValueError):
    """The call is wrong: fix the code or the settings."""


class InvalidDataError(MscVisionError, ValueError):
    """A file contradicts its manifest or its format: fix the data."""


class UndefinedResultError(MscVisionError, ArithmeticError):
    """The inputs are fine, but the quantity has no value here."""


class OutputError(MscVisionError, OSError):
    """A result could not be written: full disk, read-only folder, another run at work in it."""


class MissingDependencyError(MscVisionError, ImportError):
    """An optional part is not installed; the message is its fix."""
