"""The one error of this package: it names the place and the fix."""

from xrec.errors import UserError


class DataError(UserError):
    """Data that cannot be used as it is. The message says which source or setting, what was found, and what to do;
    several that do not depend on each other stand line by line."""


def refuse_all(problems: list[str]) -> None:
    """Raise one `DataError` for all of them, if there are any."""
    if problems:
        raise DataError("\n".join(problems))
