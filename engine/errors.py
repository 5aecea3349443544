"""The one exception that means "the user can fix this": its text is one clear line, shown without a traceback."""


class UserError(Exception):
    """Bad input or a missing part of the machine; the message names the thing and the reason."""
