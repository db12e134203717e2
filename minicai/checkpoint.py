"""Weights, records <-> disk: a folder is written beside and renamed into place, whole or not at all, with its sums."""
import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import torch

from minicai import UserError, blamed, hf_tokens, tokens
from minicai.model import LanguageModel, ModelConfig, ScalarModel, Transformer

WEIGHTS, CONFIG, MANIFEST = "weights.pt", "config.json", "manifest.sha256"
TOKENS = {"tokenizer.bpe": tokens.Tokenizer, "tokenizer.json": hf_tokens.OpenTokenizer}      # by the kind of tokenizer


@contextmanager
def whole_folder(final: Path) -> Iterator[Path]:
    """A folder to write in; sealed and renamed to `final` at the end, removed if the work is cut short by an error."""
    part, old = final.with_name(f".{final.name}.part"), final.with_name(f".{final.name}.old")
    if old.exists() and not final.exists():                  # killed between the two renamings below
        old.rename(final)
    shutil.rmtree(part, ignore_errors=True)                  # a crash may have left these behind
    shutil.rmtree(old, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        yield part
        (part / MANIFEST).write_text("\n".join(sums(part)) + "\n")
        for path in (*part.rglob("*"), part):
            os.fsync(number := os.open(path, os.O_RDONLY))
            os.close(number)
        if final.exists():
            final.rename(old)
        part.rename(final)
        shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def sums(folder: Path) -> list[str]:
    """A line for each file of a folder but its manifest: sha256, two blanks, name, as `sha256sum -c` reads them."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path != folder / MANIFEST)
    return [f"{sha256(path.read_bytes())}  {path.relative_to(folder)}" for path in files]


def sha256(raw: bytes) -> str:
    """SHA-256 of some bytes, in hexadecimal digits."""
    return hashlib.sha256(raw).hexdigest()


def verify(folder: Path) -> None:
    """UserError that names a file which is not what the manifest says. A folder put together by hand has none."""
    if (folder / MANIFEST).exists():
        written = (folder / MANIFEST).read_text(errors="replace").splitlines()
        if odd := {*written} - {*sums(folder)}:
            raise UserError(f"{folder / min(odd)[66:]}: is damaged, {MANIFEST} says; copy {folder} or make it anew")


def save_model(folder: Path, model: LanguageModel | ScalarModel,
               tokenizer: tokens.Tokenizer | hf_tokens.OpenTokenizer, training: dict) -> None:
    """Weights, tokenizer and config.json: the model's shape and the settings that trained it."""
    with blamed(f"{folder}: cannot be written, is the disk full?"):
        torch.save(model.state_dict(), folder / WEIGHTS)
    tokenizer.save(folder / next(name for name, kind in TOKENS.items() if isinstance(tokenizer, kind)))
    (folder / CONFIG).write_text(json.dumps({"model": asdict(model.config), "training": training}, indent=1) + "\n")


def load_model(folder: Path, kind: type = LanguageModel, device: str | torch.device = "cpu"):
    """-> (model in eval mode, tokenizer). UserError, in one line, where the folder holds no such model."""
    words = next((name for name in TOKENS if (folder / name).is_file()), "tokenizer.bpe")
    if missing := [name for name in (CONFIG, words, WEIGHTS) if not (folder / name).is_file()]:
        raise UserError(f"{folder}: holds no model ({missing[0]} is missing); run the stage before or name another")
    verify(folder)
    with blamed(f"{folder}: is no {kind.__name__} of its config's shape"):
        config = ModelConfig(**json.loads((folder / CONFIG).read_text())["model"])
        tokenizer = TOKENS[words].load(folder / words)
        model = kind(config) if kind is LanguageModel else kind(Transformer(config))
        model.load_state_dict(torch.load(folder / WEIGHTS, map_location="cpu", weights_only=True), strict=True)
    size, most = tokenizer.vocab_size, config.vocab_size                 # open models may have rows to spare
    if size > most or size < most and isinstance(tokenizer, tokens.Tokenizer):
        raise UserError(f"{folder}: {words} has {size} tokens, the model {most}")
    return model.to(device).eval(), tokenizer


def append_jsonl(path: Path, records: Iterable) -> None:
    """One JSON object a line; dataclasses become objects, tensors lists."""
    def plain(x) -> dict | list:
        return x.tolist() if isinstance(x, torch.Tensor) else asdict(x)
    with open(path, "a", encoding="utf-8") as file:
        file.writelines(json.dumps(record, ensure_ascii=False, default=plain) + "\n" for record in records)
