"""Masked arithmetic on (B, T) tensors, and the one place that shifts. Knows nothing of models or text.

The frame, everywhere: **column t speaks of token t+1**, the action after tokens 0..t. The last one is 0 and masked."""
from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint


def shift(x: Tensor) -> Tensor:
    """Column t of the result is column t+1 of `x` (B, T); the last column is 0. The only shift in the project."""
    return torch.cat([x[:, 1:], torch.zeros_like(x[:, :1])], dim=1)


def in_slices(f: Callable, *rows: Tensor, size: int) -> Tensor:
    """f(*rows), `size` rows at a time, run again in the backward pass: less memory (Chen et al. 2016, 1604.06174)."""
    if len(rows[0]) <= size:
        return f(*rows)
    slices = zip(*(x.split(size) for x in rows), strict=True)
    return torch.cat([checkpoint(f, *some, use_reentrant=False, preserve_rng_state=False) for some in slices])


def picked(x: Tensor, mask: Tensor, step: int = 256) -> Tensor:
    """x[mask] for x (B, T, C), followed by fillers up to a multiple of `step` rows: (N', C)."""
    index = mask.flatten().nonzero()[:, 0]     # few shapes: some CPUs compile a kernel for each, at 10 times its cost
    return x.flatten(0, 1)[torch.nn.functional.pad(index, (0, -len(index) % step))]


def target_logp(logits: Tensor, target: Tensor, temperature: float = 1.0) -> Tensor:
    """log softmax(logits / temperature) at the target, fp32 always: bf16 drifts the ratio. (..., V), (...) -> (...)."""
    logits = logits.float() / temperature
    return logits.gather(-1, target[..., None])[..., 0] - logits.logsumexp(-1)


def entropy(logits: Tensor, temperature: float = 1.0) -> Tensor:
    """Entropy in nats of softmax(logits / temperature), exact, not the sampled -logp: (..., V) -> (...)."""
    logp = (logits.float() / temperature).log_softmax(-1)
    return -(logp.exp() * logp).sum(-1)


def action_mask(ids: Tensor, prompt_length: Tensor, length: Tensor) -> Tensor:
    """True at t where the policy chose token t+1, <end> included; lengths (B,) of the prompt, and with the response."""
    t = torch.arange(ids.shape[1], device=ids.device)
    return shift((t >= prompt_length[:, None]) & (t < length[:, None]))                           # (B, T)


def masked_sum(x: Tensor, mask: Tensor, dim: int | None = None) -> Tensor:
    """Sum where mask; `where`, not a product, so that a NaN on a pad stays there."""
    return torch.where(mask, x, 0.0).sum(dim)


def masked_mean(x: Tensor, mask: Tensor, dim: int | None = None) -> Tensor:
    """Mean over the true entries of the mask; 0 where there are none."""
    assert x.shape == mask.shape, (x.shape, mask.shape)
    return masked_sum(x, mask, dim) / mask.sum(dim).clamp(min=1)


def whiten(x: Tensor, mask: Tensor, eps: float = 1e-8) -> Tensor:
    """(x - mean) / std over the whole masked batch, population variance; 0 off the mask. Constant input gives zeros."""
    mean = masked_mean(x, mask)
    var = masked_mean((x - mean) ** 2, mask)
    return torch.where(mask, (x - mean) * (var + eps).rsqrt(), 0.0)
