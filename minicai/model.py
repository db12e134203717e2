"""A transformer in the Llama/Qwen3 form, its cache and a head of one number, by Hugging Face's names. Knows no text.

B rows, T positions, C channels, H heads, K key-value heads, D head width, V vocabulary, L cache slots."""
import copy
from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minicai.shape import ModelConfig, compute_dtype, precision
from minicai.tensors import in_slices, picked

CELLS = 2 ** 25         # of logits at a time: those of a whole batch over a real vocabulary would fill the memory


class RMSNorm(nn.Module):                    # Zhang & Sennrich 2019
    def __init__(self, width: int, eps: float):
        super().__init__()
        self.weight, self.eps = nn.Parameter(torch.ones(width)), eps

    def forward(self, x: Tensor) -> Tensor:
        y = x.float()
        return self.weight * (y * (y.square().mean(-1, keepdim=True) + self.eps).rsqrt()).to(x.dtype)


class Cache:
    """Static keys and values of every layer, (B, K, L, D) each, and for each row its own next position."""
    def __init__(self, config: ModelConfig, rows: int, slots: int, device: torch.device):
        kv, dtype = (2, rows, config.num_key_value_heads, slots, config.head_dim), compute_dtype(config, device)
        self.layers = [tuple(torch.zeros(kv, device=device, dtype=dtype)) for _ in range(config.num_hidden_layers)]
        self.position = torch.zeros(rows, dtype=torch.long, device=device)

    def write(self, layer: int, k: Tensor, v: Tensor, slot: Tensor) -> tuple[Tensor, Tensor]:
        """Put T new entries (B, K, T, D) at slots (B or 1, T) of each row; return the layer's whole keys and values."""
        row = torch.arange(len(k), device=k.device)[:, None]
        for store, new in zip(self.layers[layer], (k, v), strict=True):
            store[row, :, slot] = new.transpose(1, 2).to(store.dtype)                             # (B, T, K, D)
        return self.layers[layer]

    def split(self, size: int) -> Iterator["Cache"]:
        """Views of so many rows each: what is written there is written here."""
        for rows in (slice(start, start + size) for start in range(0, len(self.position), size)):
            part = copy.copy(self)
            part.layers = [(k[rows], v[rows]) for k, v in self.layers]
            yield part

    def select(self, rows: Tensor) -> None:
        self.layers, self.position = [(k[rows], v[rows]) for k, v in self.layers], self.position[rows]


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
    """RoPE (Su et al. 2021), pair (i, i + D/2) turns by its angle: x (B, H, T, D); cos, sin (B or 1, 1, T, D)."""
    a, b = x.chunk(2, dim=-1)
    return x * cos + torch.cat([-b, a], dim=-1) * sin


class Attention(nn.Module):                  # grouped queries: Ainslie et al. 2023
    def __init__(self, c: ModelConfig, layer: int):
        super().__init__()
        self.layer, self.head_dim = layer, c.head_dim
        self.q_proj = nn.Linear(c.hidden_size, c.num_attention_heads * c.head_dim, bias=c.attention_bias)
        self.k_proj = nn.Linear(c.hidden_size, c.num_key_value_heads * c.head_dim, bias=c.attention_bias)
        self.v_proj = nn.Linear(c.hidden_size, c.num_key_value_heads * c.head_dim, bias=c.attention_bias)
        self.o_proj = nn.Linear(c.num_attention_heads * c.head_dim, c.hidden_size, bias=False)
        self.q_norm, self.k_norm = (RMSNorm(c.head_dim, c.rms_norm_eps) if c.qk_norm else nn.Identity() for _ in "qk")

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, cache: Cache | None, slot: Tensor, mask: Tensor | None):
        B, T, _ = x.shape
        q, k, v = (proj(x).view(B, T, -1, self.head_dim).transpose(1, 2)
                   for proj in (self.q_proj, self.k_proj, self.v_proj))                           # (B, H or K, T, D)
        q, k = rotate(self.q_norm(q), cos, sin), rotate(self.k_norm(k), cos, sin)                 # fp32
        keys, values = (k, v) if cache is None else cache.write(self.layer, k, v, slot)           # (B, K, T or L, D)
        if mask is None:                       # training and prefill: causal, no mask, so the fused kernel stays
            dtype = v.dtype if x.is_cuda else torch.float32     # on a CPU the backward is three times as fast in fp32
            with torch.autocast(x.device.type, enabled=False):
                y = F.scaled_dot_product_attention(q.to(dtype), k.to(dtype), v.to(dtype), is_causal=True,
                                                   enable_gqa=q.shape[1] != k.shape[1])
        else:              # decoding: the query group joins the T axis, as in the mask, so k and v need no copies
            L, group = mask.shape[-1], q.reshape(B, keys.shape[1], -1, self.head_dim).to(keys.dtype)
            y = F.scaled_dot_product_attention(group, keys[:, :, :L], values[:, :, :L], attn_mask=mask).reshape(q.shape)
        return self.o_proj(y.transpose(1, 2).reshape(B, T, -1))                                   # (B, T, C)


class MLP(nn.Module):                        # SwiGLU: Shazeer 2020
    def __init__(self, c: ModelConfig):
        super().__init__()
        self.gate_proj = nn.Linear(c.hidden_size, c.intermediate_size, bias=False)
        self.up_proj = nn.Linear(c.hidden_size, c.intermediate_size, bias=False)
        self.down_proj = nn.Linear(c.intermediate_size, c.hidden_size, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class Block(nn.Module):
    def __init__(self, c: ModelConfig, layer: int):
        super().__init__()
        self.self_attn, self.mlp = Attention(c, layer), MLP(c)
        self.input_layernorm = RMSNorm(c.hidden_size, c.rms_norm_eps)
        self.post_attention_layernorm = RMSNorm(c.hidden_size, c.rms_norm_eps)

    def forward(self, x: Tensor, *where) -> Tensor:
        x = x + self.self_attn(self.input_layernorm(x), *where)
        return x + self.mlp(self.post_attention_layernorm(x))


class Transformer(nn.Module):
    """The trunk: ids (B, T) -> hidden states (B, T, C). With `seen`, go on in the cache, else fill it."""
    def __init__(self, config: ModelConfig):
        super().__init__()
        self.config, self.embed_tokens = config, nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(Block(config, i) for i in range(config.num_hidden_layers))
        self.norm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.micro_batch = 64           # rows at a time, but in decoding: more fall out of a CPU's caches
        self.apply(init_weights)

    def forward(self, ids: Tensor, cache: Cache | None = None, seen: int | None = None) -> Tensor:
        with precision(self.config, ids.device):
            if cache is not None and seen is None:
                parts = zip(ids.split(self.micro_batch), cache.split(self.micro_batch), strict=True)
                return torch.cat([self.run(*part) for part in parts])                             # (B, T, C)
            return in_slices(self.run, ids, size=self.micro_batch) if cache is None else self.run(ids, cache, seen)

    def run(self, ids: Tensor, cache: Cache | None = None, seen: int | None = None) -> Tensor:
        c, device = self.config, ids.device
        position, mask = torch.arange(ids.shape[1], device=device)[None], None                    # (1, T)
        if seen is not None:                   # decoding: a new token looks at the slots up to its own
            position = position + cache.position[:, None]                                         # (B, T)
            own = position[:, None, :, None].repeat(1, 1, c.num_attention_heads // c.num_key_value_heads, 1)
            mask = torch.arange(seen, device=device) <= own                                       # (B, 1, H / K * T, L)
        speed = turning_speed(c.head_dim, c.rope_theta, c.rope_scaling, device)
        angle = (position[:, None, :, None] * speed).repeat(1, 1, 1, 2)                           # (B or 1, 1, T, D)
        x, cos, sin = self.embed_tokens(ids), angle.cos(), angle.sin()                            # x (B, T, C)
        for block in self.layers:
            x = block(x, cos, sin, cache, position, mask)
        return self.norm(x)


class LanguageModel(nn.Module):
    """The trunk and a head over the vocabulary, its weight tied to the embedding where the config says so."""
    def __init__(self, config: ModelConfig):
        super().__init__()
        self.config, self.model = config, Transformer(config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False).apply(init_weights)
        if config.tie_word_embeddings:
            self.lm_head.weight = self.model.embed_tokens.weight

    def forward(self, ids: Tensor, cache: Cache | None = None, seen: int | None = None) -> Tensor:
        return self.logits(self.model(ids, cache, seen))                                          # (B, T, V)

    def logits(self, hidden: Tensor) -> Tensor:
        with precision(self.config, hidden.device):
            return self.lm_head(hidden)

    def predict(self, hidden: Tensor, mask: Tensor, target: Tensor, read: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        """read(logits (n, V), target (n,)) at the N true places of a mask (B, T), slice by slice: (N, ...).

        hidden (B, T, C), target (B, T) in the action frame; the logits of all places never stand at once."""
        size = max(1, CELLS // self.config.vocab_size // 256) * 256                   # of slices, as `picked` pads
        return in_slices(lambda hidden, target: read(self.logits(hidden)[:len(target)], target),
                         picked(hidden, mask), target[mask], size=size)


class ScalarModel(nn.Module):
    """A trunk and a linear map to one number: read at the last token it is a reward model, at every token a critic."""
    def __init__(self, trunk: Transformer):
        super().__init__()
        self.config, self.model = trunk.config, trunk
        self.score = nn.Linear(trunk.config.hidden_size, 1, bias=False)
        nn.init.zeros_(self.score.weight)               # a critic with an opinion at the start would wreck the policy
        self.register_buffer("mean", torch.zeros(()))   # of raw scores on reference samples, stored with the weights,
        self.register_buffer("std", torch.ones(()))     # so that a KL coefficient means the same for any reward model

    def read(self, hidden: Tensor) -> Tensor:
        return (self.score(hidden)[..., 0].float() - self.mean) / self.std                        # (..., C) -> (...)


def init_weights(module: nn.Module) -> None:
    """Normal weights of variance 1 / inputs; small embeddings, so that a tied head starts near uniform."""
    if isinstance(module, nn.Embedding | nn.Linear):
        nn.init.normal_(module.weight, std=0.02 if isinstance(module, nn.Embedding) else module.in_features ** -0.5)
