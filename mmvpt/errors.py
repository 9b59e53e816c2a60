# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""The one class of errors that are the user's to mend."""


class UserError(ValueError):
    """An input that cannot be used as given.

    The message says what was given, what is allowed and what to do. Tools print it as
    one message and exit with status 1; every other exception is a bug and keeps its
    traceback.
    """
