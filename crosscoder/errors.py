"""Errors a person can act on."""


class UserError(Exception):
    """Something the user can put right; the entry points print its one line and exit with 1, without a traceback."""
