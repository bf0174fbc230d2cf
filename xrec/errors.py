"""The one base of all errors that a person caused and can put right: printed without a traceback. Imports nothing.

Each package derives its own (`DataError`, `ConfigError`, `RunError`, ...). A plain `ValueError`, from numpy or from a
mistake of ours, is no `UserError` and keeps its traceback.
"""


class UserError(ValueError):
    """Something a person can put right. The message names the place, what was found there, and the fix."""


class SettingError(UserError):
    """An argument of a model, explainer, metric or training that cannot be used; named as the config names it."""


class RunError(UserError):
    """A run directory that cannot be used; the message says which, and what to do."""
