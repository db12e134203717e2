"""Pretraining: a transformer from nothing becomes the helpful-only base that can also criticise, revise and judge."""
import random
from collections.abc import Iterator

from minicai.finetune import Example, sequence_loss
from minicai.model import LanguageModel
from minicai.optimise import muon_and_adamw, update, warmup_cosine
from minicai.tokens import Tokenizer, pad, train_bpe
from minicai.toyworld.corpus import Corpus, sample_text
from minicai.toyworld.world import World

VOCAB = 2048            # token ids, the five control tokens among them
WIDTH = 256             # tokens a row; a row holds several documents, whole


def make_tokenizer(world: World, seed: int, vocab_size: int = VOCAB) -> Tokenizer:
    """A tokenizer of `vocab_size` ids, its five control tokens included, trained on a sample of the corpus."""
    return Tokenizer(train_bpe(sample_text(world, random.Random(seed), documents=3000), vocab_size - 5))


def pack(corpus: Corpus, rows: int, early: bool, waiting: list[Example]) -> list[Example]:
    """Fill `rows` rows with whole documents, first fit; what fits nowhere waits for the next batch."""
    packed: list[Example] = [([], []) for _ in range(rows)]
    kept, tries = [], 0
    while tries < 3:                                                 # three documents in a row that fit nowhere: full
        document = waiting.pop() if waiting else corpus.document(early)
        if len(document[0]) > WIDTH:
            continue
        place = next((row for row in packed if len(row[0]) + len(document[0]) <= WIDTH), None)
        if place is None:
            kept.append(document)
            tries += 1
        else:
            place[0].extend(document[0])
            place[1].extend(document[1])
    waiting.extend(kept)
    return packed


def pretrain(model: LanguageModel, corpus: Corpus, *, steps: int, rows: int = 8, muon_lr: float = 0.02,
             lr: float = 5e-3) -> Iterator[dict[str, float]]:
    """Train the model in place on `steps` batches of rows x WIDTH tokens; yields each step's stats."""
    optimisers = muon_and_adamw(model, muon_lr=muon_lr, lr=lr)
    device, waiting = next(model.parameters()).device, []
    for step in range(steps):
        batch = pack(corpus, rows, step < steps / 4, waiting)
        ids = pad([ids for ids, _ in batch], corpus.tokenizer.pad, WIDTH).to(device)
        weight = pad([weight for _, weight in batch], 0.0, WIDTH).to(device)
        loss = sequence_loss(model, ids, weight)
        norm = update(loss, optimisers, scale=warmup_cosine(step, steps))
        yield {"step": step + 1, "loss": loss.item(), "grad_norm": norm}
