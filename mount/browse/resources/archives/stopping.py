"""How making an archive ends early."""


class Stopped(Exception):
    """Nobody wants the archive any more."""
