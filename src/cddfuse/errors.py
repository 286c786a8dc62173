"""The one exception for what a user can mend."""


class InputError(ValueError):
    """Something handed in is unusable. The message is one sentence that names it and the cure.

    The command line prints the message and exits with 2; any other exception is a bug of ours
    and keeps its traceback.
    """
