"""The shape of a model, and the precision of its arithmetic."""
from dataclasses import dataclass

import torch


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """The shape of a model. The defaults are those of the embedded world: about a million weights."""
    vocab_size: int
    hidden_size: int = 128
    intermediate_size: int = 384
    num_hidden_layers: int = 4
    num_attention_heads: int = 4
    num_key_value_heads: int = 4
    head_dim: int = 32
    rms_norm_eps: float = 1e-6
    rope_theta: float = 1000.0
    rope_scaling: tuple[float, ...] | None = None    # open weights: Llama 3's factor, low, high, first context; or ()
    max_position_embeddings: int = 2048              # the longest text it should be given
    tie_word_embeddings: bool = True
    attention_bias: bool = False       # a bias on q, k and v (Qwen2.5)
    qk_norm: bool = True               # RMSNorm of each head's q and k before RoPE (Qwen3)
    dtype: str = "auto"                # of the arithmetic; weights are fp32. auto: bfloat16 where the device has it


def compute_dtype(config: ModelConfig, device: torch.device) -> torch.dtype:
    """bfloat16 on CUDA and on CPUs with bf16 units, else float32: the one place where precision is decided."""
    if config.dtype != "auto":
        return getattr(torch, config.dtype)
    on_cpu = torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return torch.bfloat16 if device.type == "cuda" or on_cpu else torch.float32


def precision(config: ModelConfig, device: torch.device) -> torch.autocast:
    """Autocast around a forward pass: matrix products in the compute dtype, sums and norms in fp32."""
    dtype = compute_dtype(config, device)
    return torch.autocast(device.type, dtype, enabled=dtype != torch.float32)
