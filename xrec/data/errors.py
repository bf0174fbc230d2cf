"""The one error of this package: it names the place and the fix."""


class DataError(ValueError):
    """Data that cannot be used as it is. The message says which source or setting, what was found, and what to do."""
