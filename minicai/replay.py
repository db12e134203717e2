"""CUDA graphs: the thousand launches of a decoding step, recorded once and replayed as one. Knows no model."""
from collections.abc import Callable

import torch
from torch import Tensor

BUCKET = 128                    # a recording serves for so many lengths


def replayed(step: Callable[[Tensor, int], Tensor], rows: int, device: torch.device) -> Callable[[Tensor, int], Tensor]:
    """step(token (B,), seen) -> logits (B, V), by recordings on a buffer that stays, one for each bucket of `seen`.

    What else `step` reads must change in place only; `seen` may be more than asked; logits last until the next step."""
    buffer, recordings = torch.zeros(rows, dtype=torch.long, device=device), {}

    def again(token: Tensor, seen: int) -> Tensor:
        seen = -(-seen // BUCKET) * BUCKET
        buffer.copy_(token)
        if seen not in recordings:
            recordings[seen] = captured(lambda: step(buffer, seen))
        return recordings[seen]()
    return again


def captured(step: Callable[[], Tensor]) -> Callable[[], Tensor]:
    """`step()` as one launch, its result always in the same memory. To do it twice must be as to do it once."""
    step()                                              # libraries set themselves up before the recording, not in it
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        out = step()                                    # is recorded, not done
    return lambda: (graph.replay(), out)[1]
