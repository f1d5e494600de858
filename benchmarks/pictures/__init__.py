"""Every picture of the post, and a page of them."""

import ddgm  # before Chainer

__all__ = ['ddgm']
