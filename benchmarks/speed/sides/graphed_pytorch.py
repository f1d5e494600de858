"""The tuned training step in PyTorch as one CUDA graph, which is captured once and replayed."""

import torch

from benchmarks.speed.sides import NotMeasured
from benchmarks.speed.sides.tuned_pytorch import TunedPyTorch

WARM_UP = 3  # steps before the capture, on its stream, as PyTorch's documentation asks for


class GraphedPyTorch(TunedPyTorch):
    """See :mod:`benchmarks.speed.sides`.  Adam's eps stays what it was at the capture."""

    adam_options = {**TunedPyTorch.adam_options, 'capturable': True}

    def __init__(self, case, folder, channels_last=None):
        if case.device < 0:
            raise NotMeasured('a CUDA graph needs a GPU')
        super().__init__(case, folder, channels_last)
        self.graph = None

    def step(self, draws=None):
        if draws is not None:
            return super().step(draws)
        if self.graph is None:
            self.capture()
        self.x_positive.copy_(next(self.batches))
        self.graph.replay()
        return self.losses.tolist()

    def capture(self):
        self.x_positive = next(self.batches).clone()
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(WARM_UP):
                self.update_both()
        torch.cuda.current_stream().wait_stream(stream)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            self.losses = self.update_both()

    def update_both(self):
        losses = [*self.update_energy_model(self.x_positive), *self.update_generative_model()]
        return torch.stack([loss.detach() for loss in losses])
