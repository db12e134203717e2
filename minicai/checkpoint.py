"""Weights <-> disk: a stage's folder is written beside and renamed into place, so it is there whole or not at all."""
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import torch

from minicai import UserError, blamed
from minicai.hf_tokens import OpenTokenizer
from minicai.model import LanguageModel, ModelConfig, ScalarModel, Transformer
from minicai.tokens import Tokenizer

WEIGHTS, CONFIG = "weights.pt", "config.json"
TOKENS = {"tokenizer.bpe": Tokenizer, "tokenizer.json": OpenTokenizer}      # by the kind of tokenizer


@contextmanager
def whole_folder(final: Path) -> Iterator[Path]:
    """A folder to write in; renamed to `final` at the end, removed if the work is cut short (an error, Ctrl-C)."""
    part, old = final.with_name(f".{final.name}.part"), final.with_name(f".{final.name}.old")
    shutil.rmtree(part, ignore_errors=True)                  # a crash may have left these behind
    shutil.rmtree(old, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        yield part
        if final.exists():
            final.rename(old)
        part.rename(final)
        shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def save_model(folder: Path, model: LanguageModel | ScalarModel, tokenizer: Tokenizer | OpenTokenizer,
               training: dict) -> None:
    """Weights, tokenizer and config.json: the model's shape and the settings that trained it."""
    torch.save(model.state_dict(), folder / WEIGHTS)
    tokenizer.save(folder / next(name for name, kind in TOKENS.items() if isinstance(tokenizer, kind)))
    (folder / CONFIG).write_text(json.dumps({"model": asdict(model.config), "training": training}, indent=1) + "\n")


def load_model(folder: Path, kind: type = LanguageModel, device: str | torch.device = "cpu"):
    """-> (model in eval mode, tokenizer). UserError, in one line, where the folder holds no such model."""
    tokens = next((name for name in TOKENS if (folder / name).is_file()), "tokenizer.bpe")
    for name in (CONFIG, tokens, WEIGHTS):
        if not (folder / name).is_file():
            raise UserError(f"{folder}: holds no model ({name} is missing); run the stage before or name another")
    with blamed(f"{folder}: is no {kind.__name__} of its config's shape"):
        config = ModelConfig(**json.loads((folder / CONFIG).read_text())["model"])
        tokenizer = TOKENS[tokens].load(folder / tokens)
        model = kind(config) if kind is LanguageModel else kind(Transformer(config))
        model.load_state_dict(torch.load(folder / WEIGHTS, map_location="cpu", weights_only=True), strict=True)
    size, most = tokenizer.vocab_size, config.vocab_size                 # open models may have rows to spare
    if size > most or size < most and isinstance(tokenizer, Tokenizer):
        raise UserError(f"{folder}: {tokens} has {size} tokens, the model {most}")
    return model.to(device).eval(), tokenizer
