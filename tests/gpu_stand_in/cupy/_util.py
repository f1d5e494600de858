"""Where Chainer looks for a warning."""


class PerformanceWarning(RuntimeWarning):
    """Never given."""
