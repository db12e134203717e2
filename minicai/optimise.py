"""The one guarded update that every training loop makes. Knows tensors and weights, nothing of what they say."""
import math

from torch import Tensor, nn
from torch.optim import AdamW, Optimizer


class Diverged(RuntimeError):
    """A loss or gradient is not finite; the weights are as they were before the update."""


def adamw(groups: list[dict], lr: float, eps: float = 1e-8) -> Optimizer:
    """Fused AdamW without decay. PPO wants eps 1e-5 (the N+ implementation details, arXiv 2403.17031)."""
    return AdamW(groups, lr=lr, betas=(0.9, 0.95), eps=eps, weight_decay=0.0, fused=True)


def update(loss: Tensor, optimisers: list[Optimizer], *, scale: float = 1.0, max_norm: float = 1.0) -> float:
    """Backward, check, clip, step; each learning rate is its initial one times `scale`. Returns the gradient's norm."""
    if not loss.isfinite():
        raise Diverged(f"training diverged: the loss is {loss.item()}; try a smaller learning rate")
    groups = [group for optimiser in optimisers for group in optimiser.param_groups]
    for optimiser in optimisers:
        optimiser.zero_grad()
    loss.backward()
    norm = nn.utils.clip_grad_norm_([p for group in groups for p in group["params"]], max_norm).item()
    if not math.isfinite(norm):
        raise Diverged(f"training diverged: the gradient's norm is {norm}; try a smaller learning rate")
    for group in groups:
        group["lr"] = group.setdefault("initial_lr", group["lr"]) * scale
    for optimiser in optimisers:
        optimiser.step()
    return norm
