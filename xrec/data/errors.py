"""The one error of this package: it names the place and the fix."""

from xrec.errors import UserError


class DataError(UserError):
    """Data that cannot be used as it is. The message says which source or setting, what was found, and what to do."""
