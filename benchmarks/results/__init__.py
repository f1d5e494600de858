"""Studies that the package lacks, and what is made of all results."""

import ddgm  # before Chainer

__all__ = ['ddgm']
