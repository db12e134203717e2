"""Open weights in and out: a local Hugging Face folder <-> the same transformer as the toy's, and a tokenizer.

Four families are this one decoder with a few switches: Llama 3.x and SmolLM2 (`llama`), Qwen2.5 (`qwen2`: biases on q,
k, v), Qwen3 (`qwen3`: norms of q and k). All else is refused by name. Nothing is downloaded.
"""
import json
from pathlib import Path

import torch

from minicai import UserError, blamed, checkpoint
from minicai.data import POINTER, read_text
from minicai.hf_bpe import toy_spec
from minicai.hf_tokens import OpenTokenizer
from minicai.model import LanguageModel, ModelConfig, ScalarModel
from minicai.tokens import Tokenizer

KINDS = {"llama": "Llama", "qwen2": "Qwen2", "qwen3": "Qwen3"}
SUPPORTED = "supported: Llama 3.x and SmolLM2 (llama), Qwen2.5 (qwen2), Qwen3 (qwen3), for causal language modelling"
CONFIG, GENERATION, TOKENS = "config.json", "generation_config.json", "tokenizer.json"
WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
SIZES = "vocab_size hidden_size intermediate_size num_hidden_layers num_attention_heads max_position_embeddings".split()
SCALING = "factor low_freq_factor high_freq_factor original_max_position_embeddings".split()
PLAIN = {"quantization_config": None, "hidden_act": "silu", "use_sliding_window": False, "attention_bias": False,
         "mlp_bias": False, "partial_rotary_factor": 1.0}        # what else a config can ask for, and its plain value


def load(folder: str | Path, device: str | torch.device = "cpu") -> tuple[LanguageModel, OpenTokenizer]:
    """-> (model in eval mode, its weights in fp32; tokenizer). UserError, one line, if the folder is not supported."""
    folder = Path(folder)
    with blamed(folder / CONFIG):
        config = model_config(spec := read_json(folder / CONFIG))
    own = read_json(folder / GENERATION) if (folder / GENERATION).exists() else {}
    ends = own.get("eos_token_id", spec.get("eos_token_id"))
    if not (folder / TOKENS).exists() and (folder / "tokenizer.model").exists():
        raise UserError(f"{folder}: its tokenizer is of SentencePiece (tokenizer.model): not supported; {SUPPORTED}")
    with blamed(folder / TOKENS):
        tokenizer = OpenTokenizer(read_json(folder / TOKENS), ends if isinstance(ends, list) else [ends])
        if tokenizer.vocab_size > config.vocab_size:
            raise ValueError(f"{tokenizer.vocab_size} ids, the model has {config.vocab_size}: another's tokenizer?")
    with torch.device("meta"):                                   # names and shapes alone: no memory, no random numbers
        model = LanguageModel(config)
    state = read_weights(folder)
    if config.tie_word_embeddings:                               # such a head is not in the file, or not looked at
        state["lm_head.weight"] = state.get("model.embed_tokens.weight")
    with blamed(f"{folder}: its weights are not those of {CONFIG}"):
        model.load_state_dict(state, strict=True, assign=True)
    if config.tie_word_embeddings:
        model.lm_head.weight = model.model.embed_tokens.weight
    return model.requires_grad_().to(device).eval(), tokenizer


def load_any(folder: Path, device: str | torch.device = "cpu") -> tuple[LanguageModel, Tokenizer | OpenTokenizer, bool]:
    """-> (model, tokenizer, True) of a stage's folder, (model, tokenizer, False) of a Hugging Face one."""
    if (folder / CONFIG).exists() and not (folder / checkpoint.WEIGHTS).exists():
        return *load(folder, device), False
    return *checkpoint.load_model(folder, device=device), True


def read_json(path: Path) -> dict:
    """The JSON object in a file; UserError if there is none."""
    with blamed(f"{path}: expected a JSON object"):
        return dict(json.loads(read_text(path)))


def model_config(spec: dict) -> ModelConfig:
    """config.json, in old and new spellings -> ModelConfig. ValueError says what is not supported."""
    kind, built = str(spec.get("model_type")), [*(spec.get("architectures") or [])]
    if kind not in KINDS or built not in ([], [f"{KINDS[kind]}ForCausalLM"]):
        raise ValueError(f"a model of type {kind} {built} is not supported; {SUPPORTED}")
    rope = spec.get("rope_parameters") or spec.get("rope_scaling") or {}
    rope_type = rope.get("rope_type", rope.get("type", "default"))
    asked = [f"{key} {value}" for key, value in (rope | spec).items() if PLAIN.get(key, value) != value is not None]
    asked += [f"layer_types {name}" for name in spec.get("layer_types") or [] if name != "full_attention"]
    asked += [f"{key} {spec.get(key)}" for key in SIZES if not isinstance(spec.get(key), int)]
    asked += [f"rope_type {rope_type}"] if rope_type not in ("default", "llama3") else []
    if asked:
        raise ValueError(f"{asked[0][:80]} is not supported; {SUPPORTED}, all plain")
    return ModelConfig(**{key: spec[key] for key in SIZES},
                       num_key_value_heads=int(spec.get("num_key_value_heads") or spec["num_attention_heads"]),
                       head_dim=int(spec.get("head_dim") or spec["hidden_size"] // spec["num_attention_heads"]),
                       rms_norm_eps=float(spec.get("rms_norm_eps", 1e-6)),
                       rope_theta=float(rope.get("rope_theta", spec.get("rope_theta", 10000.0))),
                       rope_scaling=tuple(float(rope[key]) for key in SCALING) if rope_type == "llama3" else (),
                       tie_word_embeddings=bool(spec.get("tie_word_embeddings", False)),
                       attention_bias=kind == "qwen2", qk_norm=kind == "qwen3",
                       dtype="float32" if spec.get("dtype", spec.get("torch_dtype")) == "float32" else "auto")


def safetensors():
    """The package, which only open weights need."""
    try:
        import safetensors.torch
    except ImportError:
        raise UserError('open weights need the package safetensors: pip install "minicai[hf]"') from None
    return safetensors.torch


def read_weights(folder: Path) -> dict[str, torch.Tensor]:
    """All tensors of the folder's safetensors, a single file or shards, in fp32."""
    names = [WEIGHTS]
    if (folder / INDEX).exists() and not (folder / WEIGHTS).exists():
        with blamed(folder / INDEX):
            names = sorted({*read_json(folder / INDEX)["weight_map"].values()})
            if odd := [name for name in names if Path(name).name != name]:
                raise ValueError(f"{odd[0]!r} is no plain file name")
    return {name: tensor for file in names for name, tensor in read_tensors(folder / file).items()}


def read_tensors(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of one file, in fp32."""
    with blamed(f"{path}: expected {WEIGHTS}, or {INDEX} and all its shards"):
        if path.stat().st_size < 1000 and path.read_bytes().startswith(POINTER):
            raise ValueError("this is a pointer of Git LFS, not the file itself; fetch it with: git lfs pull")
        tensors = safetensors().load_file(path)
        if odd := [t.dtype for t in tensors.values() if t.dtype not in (torch.float32, torch.bfloat16, torch.float16)]:
            raise ValueError(f"{odd[0]}, so the weights are quantised: not supported")
    return {name: tensor.float() for name, tensor in tensors.items()}


def save(model: LanguageModel | ScalarModel, tokenizer: Tokenizer | OpenTokenizer, folder: str | Path) -> None:
    """Write a new folder that transformers and vLLM load as it is: the same logits, the same ids.

    A ScalarModel becomes a sequence classification with one label, which has no bias: it is our score plus mean / std
    (`score_offset` in config.json). It is read where the padding begins: at <end>, as ours is.
    """
    library, folder, scalar = safetensors(), Path(folder), isinstance(model, ScalarModel)
    if folder.exists():
        raise UserError(f"{folder}: exists already; name a new folder")
    if isinstance(tokenizer, Tokenizer):
        tokenizer = OpenTokenizer(toy_spec(tokenizer), [tokenizer.end])
    spec = config_json(model.config, "ForSequenceClassification" if scalar else "ForCausalLM")
    state = {name: tensor.detach().float().cpu().contiguous() for name, tensor in model.state_dict().items()}
    if scalar:
        mean, std = state.pop("mean"), state.pop("std")
        state["score.weight"] = state["score.weight"] / std
        spec |= {"score_offset": (mean / std).item(), "id2label": {"0": "score"}, "label2id": {"score": 0}}
    elif model.config.tie_word_embeddings:
        del state["lm_head.weight"]
    ids = {"bos_token_id": next(iter(tokenizer.start), None), "pad_token_id": tokenizer.pad}
    files = {CONFIG: spec | ids | {"eos_token_id": tokenizer.end}, TOKENS: tokenizer.spec,
             GENERATION: ids | {"eos_token_id": sorted({*tokenizer.ends}), "do_sample": True, "top_k": 0},
             "tokenizer_config.json": {
                 "tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": model.config.max_position_embeddings,
                 "clean_up_tokenization_spaces": False, "chat_template": tokenizer.chat_template(),
                 "eos_token": tokenizer.style.end,
                 "pad_token": next(name for name, i in tokenizer.controls.items() if i == tokenizer.pad)}}
    with checkpoint.whole_folder(folder) as part:
        library.save_file(state, part / WEIGHTS, metadata={"format": "pt"})
        for name, value in files.items():
            (part / name).write_text(json.dumps(value, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def config_json(c: ModelConfig, purpose: str) -> dict:
    """ModelConfig -> config.json, in the spelling that old and new versions of transformers read."""
    if c.attention_bias and c.qk_norm:
        raise UserError("a model with both attention_bias and qk_norm is none of Hugging Face's kinds")
    kind = "qwen2" if c.attention_bias else "qwen3" if c.qk_norm else "llama"
    scaling = {"rope_type": "llama3", **dict(zip(SCALING, c.rope_scaling, strict=True))} if c.rope_scaling else None
    sizes = {key: getattr(c, key) for key in [*SIZES, "num_key_value_heads", "head_dim", "rms_norm_eps", "rope_theta"]}
    return {"architectures": [KINDS[kind] + purpose], "model_type": kind, "hidden_act": "silu", **sizes,
            "tie_word_embeddings": c.tie_word_embeddings, "rope_scaling": scaling, "attention_bias": False,
            "dtype": "float32", "torch_dtype": "float32"}
