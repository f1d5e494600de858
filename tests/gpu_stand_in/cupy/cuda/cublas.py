"""Named by Chainer, used by none of what is tested."""
