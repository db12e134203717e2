"""Optimisers and the one guarded update that every training loop makes. Knows tensors and weights, nothing of what they say."""
import math

import torch
from torch import Tensor, nn


class Diverged(RuntimeError):
    """A loss or gradient is not finite; the weights are as they were before the update."""


def adamw(groups: list[dict], lr: float, eps: float = 1e-8) -> torch.optim.Optimizer:
    """AdamW without decay, fused where the device has it. PPO wants eps 1e-5 (N+ implementation details, arXiv 2403.17031)."""
    return torch.optim.AdamW(groups, lr=lr, betas=(0.9, 0.95), eps=eps, weight_decay=0.0, fused=True)


def muon_and_adamw(model: nn.Module, *, muon_lr: float, lr: float) -> list[torch.optim.Optimizer]:
    """Muon (Jordan et al. 2024) for the matrices of the blocks, AdamW for embeddings, norms and heads: quick pretraining."""
    matrices = [p for name, p in model.named_parameters() if p.ndim == 2 and ".layers." in name]
    chosen = set(map(id, matrices))
    others = [p for p in model.parameters() if id(p) not in chosen]
    return [torch.optim.Muon(matrices, lr=muon_lr, weight_decay=0.0), adamw([{"params": others}], lr)]


def update(loss: Tensor, optimisers: list[torch.optim.Optimizer], *, scale: float = 1.0, max_norm: float = 1.0) -> float:
    """Backward, check, clip, step; every learning rate is its initial one times `scale`. Returns the gradient's norm."""
    for optimiser in optimisers:
        optimiser.zero_grad(set_to_none=True)
    if not torch.isfinite(loss):
        raise Diverged(f"the loss is {loss.item()}")
    loss.backward()
    groups = [group for optimiser in optimisers for group in optimiser.param_groups]
    norm = nn.utils.clip_grad_norm_([p for group in groups for p in group["params"]], max_norm).item()
    if not math.isfinite(norm):
        raise Diverged(f"the gradient's norm is {norm}")
    for group in groups:
        group["lr"] = group.setdefault("initial_lr", group["lr"]) * scale
    for optimiser in optimisers:
        optimiser.step()
    return norm


def warmup_cosine(step: int, steps: int, warmup: int = 50) -> float:
    """Linear warm-up, then half a cosine to zero: the factor on the learning rate at `step` of `steps`."""
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))
