"""The one guarded update that every training loop makes. Knows tensors and weights, nothing of what they say."""
from torch import Tensor, nn, optim


class Diverged(RuntimeError):
    """Training must not go on: a loss is not finite, say; the weights are as they were before the update."""


def adamw(groups: list[dict], lr: float, eps: float = 1e-8) -> optim.Optimizer:
    """Fused AdamW without decay. PPO wants eps 1e-5 (the N+ implementation details, arXiv 2403.17031)."""
    return optim.AdamW(groups, lr=lr, betas=(0.9, 0.95), eps=eps, weight_decay=0.0, fused=True)


def update(loss: Tensor, optimisers: list[optim.Optimizer], *, scale: float = 1.0, max_norm: float = 1.0) -> float:
    """Backward, check, clip, step; each learning rate is its initial one times `scale`. Returns the gradient's norm."""
    groups = [group for optimiser in optimisers for group in optimiser.param_groups]
    for optimiser in optimisers:
        optimiser.zero_grad()
    loss.backward()
    norm = nn.utils.clip_grad_norm_([p for group in groups for p in group["params"]], max_norm)
    if not (loss + norm).isfinite():
        raise Diverged(f"training diverged: loss {loss:.3g}, gradient's norm {norm:.3g}; try a smaller learning rate")
    for group in groups:
        group["lr"] = group.setdefault("initial_lr", group["lr"]) * scale
    for optimiser in optimisers:
        optimiser.step()
    return norm.item()
