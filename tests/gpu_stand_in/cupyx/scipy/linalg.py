"""Named by Chainer."""
