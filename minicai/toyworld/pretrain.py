"""Pretraining: a transformer from nothing becomes the helpful-only base that can also criticise, revise and judge."""
import math
import random
from collections.abc import Callable, Iterator
from dataclasses import asdict

import torch

from minicai import assistant, checkpoint, finetune, optimise, tokens
from minicai.model import LanguageModel, ModelConfig
from minicai.toyworld import bpe, source
from minicai.toyworld.corpus import Corpus
from minicai.toyworld.world import World

VOCAB = 3072            # token ids at most: enough for each word of the world to be one, so that to copy it is one step
SHORT = 72              # tokens of a short document at most. Each step has two batches, one of short documents,
ROWS = 18, 12           # one of long ones, of so many rows: the short are many kinds, and cheap


def make_tokenizer(world: World, seed: int, vocab_size: int = VOCAB) -> tokens.Tokenizer:
    """A tokenizer of at most `vocab_size` ids, its five control tokens included, trained on a sample of the corpus."""
    corpus = Corpus(world, tokens.Tokenizer({bytes([i]): i for i in range(256)}), random.Random(seed))
    text = "\n".join(corpus.tokenizer.decode(corpus.document(early=False)[0]) for _ in range(3000))
    return tokens.Tokenizer(bpe.train_bpe(text, vocab_size - 5))


def draw_batches(corpus: Corpus, steps: int, early: bool) -> list[list[list[finetune.Example]]]:
    """The batches of some steps, each of two rectangles: short documents and long ones, in each alike in length.

    A document a row: packed several to a row they distract each other, and copying takes half as long again."""
    pools: tuple[list[finetune.Example], ...] = ([], [])
    while any(len(pool) < steps * rows for pool, rows in zip(pools, ROWS, strict=True)):
        document = corpus.document(early)
        pools[len(document[0]) > SHORT].append(document)
    columns = []
    for pool, rows in zip(pools, ROWS, strict=True):
        pool = sorted(pool[:steps * rows], key=lambda document: len(document[0]))
        columns.append(corpus.rng.sample([pool[i:i + rows] for i in range(0, len(pool), rows)], steps))
    return [list(rectangles) for rectangles in zip(*columns, strict=True)]


def all_batches(corpus: Corpus, steps: int) -> Iterator[list[list[finetune.Example]]]:
    """The batches of the whole training, drawn for eight steps at a time."""
    for start in range(0, steps, 8):
        yield from reversed(draw_batches(corpus, 8, early=start < steps / 4)[-(steps - start):])


def optimisers_for(model: LanguageModel, muon_lr: float = 0.02, lr: float = 5e-3) -> list[torch.optim.Optimizer]:
    """Muon (Jordan et al. 2024) for the matrices of the blocks, AdamW for embeddings, norms and head."""
    matrices = [p for name, p in model.named_parameters() if p.ndim == 2 and ".layers." in name]
    others = [p for name, p in model.named_parameters() if not (p.ndim == 2 and ".layers." in name)]
    return [torch.optim.Muon(matrices, lr=muon_lr, weight_decay=0.0), optimise.adamw([{"params": others}], lr)]


def warmup_cosine(step: int, steps: int, warmup: int = 50) -> float:
    """Linear warm-up, then half a cosine to zero: the factor on the learning rate at `step` of `steps`."""
    cosine = 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))
    return (step + 1) / warmup if step < warmup else cosine


def pretrain(model: LanguageModel, corpus: Corpus, *, steps: int, keep: Callable) -> Iterator[dict[str, float]]:
    """Train the model in place; yields each step's stats. `keep` as in `finetune`."""
    (muon, adam), device = optimisers_for(model), next(model.parameters()).device
    for step, rectangles in keep(enumerate(all_batches(corpus, steps)), model=model, muon=muon, adam=adam):
        total, loss = sum(sum(weight) for rows in rectangles for _, weight in rows), 0.0
        for rows in rectangles:
            ids, weight = (tokens.pad(part, 0).to(device) for part in zip(*rows, strict=True))    # pads are not learned
            loss = loss + finetune.sequence_loss(model, ids, weight) * weight.sum() / total
        norm = optimise.update(loss, [muon, adam], scale=warmup_cosine(step, steps))
        yield {"step": step + 1, "loss": loss.item(), "grad_norm": norm}


def make_base(log, cfg, rng: random.Random, generator: torch.Generator) -> None:
    """Tokenizer, model and pretraining by train_sl's settings: the helpful-only base, saved and measured by `log`."""
    world, steps = World(cfg.frames), cfg.pretrain_steps
    tokenizer = make_tokenizer(world, seed=0)
    shape = ModelConfig(tokenizer.vocab_size, cfg.hidden_size, 3 * cfg.hidden_size, num_hidden_layers=cfg.layers)
    model = LanguageModel(shape).to(generator.device)
    with log.timed("pretraining"):
        some = pretrain(model, Corpus(world, tokenizer, rng), steps=steps, keep=log.keep.steps)
        log.follow("pretraining", some, total=steps, every=100)
    checkpoint.save_model(log.folder, model.eval(), tokenizer, asdict(cfg))
    source.Embedded(world).report(log, "base", assistant.Assistant(model, tokenizer, generator), cfg.probes, cfg.seed)
