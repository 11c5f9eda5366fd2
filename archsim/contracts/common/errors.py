"""The one exception that users of archsim see."""


class ArchsimError(Exception):
    """Input that archsim cannot accept, or a rule of the chip that a program breaks.

    The message says where (``file:line:column`` when there is one), what was required, what was given and what to
    do about it. The command line prints it without a traceback and exits with status 2.
    """
