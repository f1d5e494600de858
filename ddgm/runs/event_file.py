"""What a run logs and draws as an event file of TensorBoard, beside its own log and frames."""

from __future__ import annotations

import pathlib
import struct

from ddgm.support.errors import UsageError, one_line

FOLDER = 'tensorboard'
_ITERATION = 'iteration'


def require() -> None:
    """Raise ``UsageError`` where the package is missing that writes them."""
    try:
        from tensorboard.compat.proto import event_pb2  # noqa: F401
        from tensorboard.summary.writer import record_writer  # noqa: F401
    except Exception as error:  # an unfit protobuf raises errors of its own
        raise UsageError('--tensorboard needs the package tensorboard ({}): pip install tensorboard, or give '
                         '--no-tensorboard'.format(one_line(error))) from error


class EventFile:
    """A new event file, in which each event is whole once it was added.

    Args:
        path (pathlib.Path): The file, which must not exist.
        start (float): When the training began, in seconds since 1970, as if it had never paused.
    """

    def __init__(self, path: pathlib.Path, start: float):
        from tensorboard.compat.proto import event_pb2
        from tensorboard.summary.writer import record_writer
        self._event, self._start, self._last_frame = event_pb2.Event, start, 0
        self._file = open(path, 'xb')  # noqa: SIM115 (it stays)
        self._writer = record_writer.RecordWriter(self._file)
        self._add(self._event(wall_time=start, file_version='brain.Event:2'))
        # A TensorBoard that looks on forgets what it has read of an earlier file.
        self._add(self._event(
            wall_time=start, session_log=event_pb2.SessionLog(status=event_pb2.SessionLog.START)))

    def _add(self, event):
        self._writer.write(event.SerializeToString())
        self._file.flush()

    def add_entry(self, entry: dict) -> None:
        """Add the numbers of a log entry."""
        event = self._event(wall_time=self._start + entry['elapsed_time'], step=entry[_ITERATION])
        for name, number in entry.items():
            if name != _ITERATION:
                event.summary.value.add(tag=name, simple_value=number)
        self._add(event)

    def add_frame(self, path: pathlib.Path) -> None:
        """Add a frame of the video, a PNG file with the iteration's name, unless it was the last one that was added."""
        iteration = int(path.stem)
        if iteration == self._last_frame:
            return
        png = path.read_bytes()
        width, height = struct.unpack('>2I', png[16:24])
        event = self._event(wall_time=path.stat().st_mtime, step=iteration)
        image = event.summary.value.add(tag='samples').image
        image.width, image.height, image.encoded_image_string = width, height, png
        self._add(event)
        self._last_frame = iteration

    def close(self) -> None:
        """Let others have the file."""
        self._file.close()
