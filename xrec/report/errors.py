"""The one error of this package."""

from xrec.errors import UserError


class ReportError(UserError):
    """A table or figure that cannot be made of these results: says why, and what there is."""
