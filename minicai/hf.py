"""Open weights in and out: a local Hugging Face folder <-> the same transformer as the toy's, and a tokenizer.

Four families are this one decoder with a few switches (hf.toml); all else is refused by name. Nothing is downloaded."""
import json
from pathlib import Path

import torch

from minicai import UserError, blamed, checkpoint, read_text, tokens
from minicai.hf_bpe import KNOWN, toy_spec
from minicai.hf_tokens import OpenTokenizer
from minicai.model import LanguageModel, ModelConfig, ScalarModel

CONFIG, GENERATION, TOKENS = "config.json", "generation_config.json", "tokenizer.json"
WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
SUPPORTED, ALLOWED, SIZES, SCALING = map(KNOWN.get, ("supported", "allowed", "sizes", "scaling"))
SETTINGS = SIZES + KNOWN["others"]


def load(folder: str | Path, device: str | torch.device = "cpu") -> tuple[LanguageModel, OpenTokenizer]:
    """-> (model in eval mode, its weights in fp32; tokenizer). UserError, one line, if the folder is not supported."""
    folder = Path(folder)
    with blamed(folder / CONFIG):
        config = model_config(spec := read_json(folder / CONFIG))
        with torch.device("meta"):                               # names and shapes alone: no memory, no random numbers
            model = LanguageModel(config)
    ends = (spec | (read_json(folder / GENERATION) if (folder / GENERATION).exists() else {})).get("eos_token_id")
    if not (folder / TOKENS).exists() and (folder / "tokenizer.model").exists():
        raise UserError(f"{folder}: its tokenizer is of SentencePiece (tokenizer.model): not supported; {SUPPORTED}")
    with blamed(folder / TOKENS):
        tokenizer = OpenTokenizer(read_json(folder / TOKENS), ends if isinstance(ends, list) else [ends])
        if tokenizer.vocab_size > config.vocab_size:
            raise ValueError(f"{tokenizer.vocab_size} ids, the model has {config.vocab_size}: another's tokenizer?")
    state = read_weights(folder)
    if config.tie_word_embeddings:                               # such a head is not in the file, or not looked at
        state["lm_head.weight"] = state.get("model.embed_tokens.weight")
    with blamed(f"{folder}: its weights are not those of {CONFIG}"):
        model.load_state_dict(state, strict=True, assign=True)
    return model.to(device).eval(), tokenizer


def read_json(path: Path) -> dict:
    """The JSON object in a file; UserError if there is none."""
    with blamed(f"{path}: expected a JSON object"):
        return dict(json.loads(read_text(path)))


def model_config(spec: dict) -> ModelConfig:
    """config.json, in old and new spellings -> ModelConfig. ValueError says what is not supported."""
    kind, rope = str(spec.get("model_type")), spec.get("rope_parameters") or spec.get("rope_scaling") or {}
    rope_type = rope.get("rope_type", rope.get("type", "default"))
    asked = [("model_type", kind), ("rope_type", rope_type), *spec.items(), *rope.items()]
    asked += [("layer_type", name) for name in spec.get("layer_types") or []]
    odd = [f"{key} {value}" for key, value in asked if value is not None and value not in ALLOWED.get(key, [value])]
    odd += [f"{key} {spec.get(key)}" for key in SIZES if not isinstance(spec.get(key), int)]
    if odd:
        raise ValueError(f"{odd[0][:80]} is not supported; {SUPPORTED}, all plain")
    heads = spec["num_attention_heads"]
    usual = KNOWN["usual"] | {"num_key_value_heads": heads, "head_dim": spec["hidden_size"] // heads}
    given = usual | {key: value for key, value in asked if value is not None}
    return ModelConfig(**{key: given[key] for key in SETTINGS}, **KNOWN["families"][kind],
                       rope_scaling=tuple(float(rope[key]) for key in SCALING) if rope_type == "llama3" else (),
                       dtype="float32" if "float32" in (spec.get("dtype"), spec.get("torch_dtype")) else "auto")


def _safetensors():
    with blamed('open weights need the package safetensors: pip install "minicai[hf]"'):
        import safetensors.torch
    return safetensors.torch


def read_weights(folder: Path) -> dict[str, torch.nn.Parameter]:
    """All tensors of the folder's safetensors, a single file or shards, in fp32. Nothing outside of it is read."""
    names, state = [WEIGHTS], {}
    if (folder / INDEX).exists() and not (folder / WEIGHTS).exists():
        with blamed(folder / INDEX):
            names = sorted({Path(name).name for name in read_json(folder / INDEX)["weight_map"].values()})
    for path in (folder / name for name in names):
        with blamed(f"{path}: expected {WEIGHTS}, or all shards of {INDEX}, and no Git LFS pointers (git lfs pull)"):
            tensors = _safetensors().load_file(path)
            if odd := {t.dtype for t in tensors.values()} - {torch.float32, torch.bfloat16, torch.float16}:
                raise ValueError(f"{odd.pop()}, so the weights are quantised: not supported")
        state |= {name: torch.nn.Parameter(tensor.float()) for name, tensor in tensors.items()}
    return state


def save(model: LanguageModel | ScalarModel, tokenizer: tokens.Tokenizer | OpenTokenizer, folder: str | Path) -> None:
    """Write a new folder that transformers and vLLM load as it is: the same logits, the same ids.

    A ScalarModel becomes a classifier with one label, read at <end> as ours is: our score and `score_offset`."""
    folder, c, scalar = Path(folder), model.config, isinstance(model, ScalarModel)
    if folder.exists():
        raise UserError(f"{folder}: exists already; name a new folder")
    if isinstance(tokenizer, tokens.Tokenizer):
        tokenizer = OpenTokenizer(toy_spec(tokenizer), [tokenizer.end])
    kind = next(name for name, its in KNOWN["families"].items() if all(getattr(c, key) == its[key] for key in its))
    scaling = {"rope_type": "llama3", **dict(zip(SCALING, c.rope_scaling, strict=True))} if c.rope_scaling else None
    spec = {"architectures": [kind.capitalize() + ("ForSequenceClassification" if scalar else "ForCausalLM")],
            "model_type": kind, **{key: getattr(c, key) for key in SETTINGS}, "rope_scaling": scaling}
    state = {name: tensor.detach().float().cpu().contiguous() for name, tensor in model.state_dict().items()}
    if scalar:
        mean, std = state.pop("mean"), state.pop("std")
        state["score.weight"] = state["score.weight"] / std
        spec |= {"score_offset": (mean / std).item(), "id2label": {"0": "score"}, "label2id": {"score": 0}}
    elif c.tie_word_embeddings:
        del state["lm_head.weight"]
    ids = {"bos_token_id": next(iter(tokenizer.ids.start), None), "pad_token_id": tokenizer.pad}
    files = {CONFIG: spec | ids | {"eos_token_id": tokenizer.end}, TOKENS: tokenizer.spec,
             GENERATION: ids | {"eos_token_id": tokenizer.ends}, "tokenizer_config.json": {
                 "model_max_length": c.max_position_embeddings, "chat_template": tokenizer.chat_template(),
                 "eos_token": tokenizer.style.end, "pad_token": tokenizer.bpe.decode([tokenizer.pad])}}
    with checkpoint.whole_folder(folder) as part:
        _safetensors().save_file(state, part / WEIGHTS, metadata={"format": "pt"})
        for name, value in files.items():
            whole = KNOWN["saved"].get(name, {}) | value
            (part / name).write_text(json.dumps(whole, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
