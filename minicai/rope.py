"""Rotary positions (Su et al. 2021, arXiv 2104.09864): how fast each pair of a head's channels turns, and the turn."""
import torch
from torch import Tensor


def turning_speed(head_dim: int, theta: float, scaling: tuple[float, ...] | None, device: torch.device) -> Tensor:
    """Radians a position by which pair i turns: theta^(-2i/D), (D/2,); scaled, Llama 3.1 slows the slow pairs down."""
    power = torch.arange(0, head_dim, 2, device=device) / head_dim
    speed = theta ** -power if scaling is None else 1.0 / theta ** power              # (): as transformers rounds it
    if scaling:
        factor, low, high, first = scaling
        kept = ((first / (2 * torch.pi / speed) - low) / (high - low)).clamp(0, 1)    # by turns within first context
        speed = (1 - kept) * speed / factor + kept * speed
    return speed


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """RoPE, half-split layout: pair (i, i + D/2) turns by its angle. x (B, H, T, D); cos, sin (B or 1, 1, T, D)."""
    a, b = x.chunk(2, dim=-1)
    return x * cos + torch.cat([-b, a], dim=-1) * sin
