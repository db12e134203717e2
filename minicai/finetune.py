"""Supervised learning on tokens: weighted cross-entropy, and the loop of fine-tuning (Bai et al. 2022, section 3.2)."""
import random
from collections.abc import Callable, Iterator, Sequence

from torch import Tensor
from torch.nn.functional import cross_entropy

from minicai import optimise, tensors, tokens
from minicai.model import LanguageModel

Example = tuple[list[int], list[float]]            # ids, and the weight of each as a target (0: read, not learned)


def response_example(tokenizer: tokens.Tokenizer, turns: list[tokens.Turn]) -> Example:
    """A conversation of which only the last turn, its <end> included, is learned."""
    given, ids = tokenizer.prompt(turns[:-1]), tokenizer.render(turns)
    return ids, [0.0] * len(given) + [1.0] * (len(ids) - len(given))


def sequence_loss(model: LanguageModel, ids: Tensor, weight: Tensor) -> Tensor:
    """Weighted mean of -log p(token) over all targets; ids and weight (B, T), weight of a token as a target."""
    weight, target = tensors.shift(weight), tensors.shift(ids)                        # into the action frame
    learned = weight > 0                                                              # only these go through the head
    losses = model.predict(model.model(ids), learned, target,                         # (N,)
                           lambda logits, target: cross_entropy(logits.float(), target, reduction="none"))
    return (losses * weight[learned]).sum() / weight.sum().clamp(min=1e-8)


def batches(examples: Sequence, size: int, epochs: int, rng: random.Random) -> list[tuple[int, list]]:
    """(epoch, some examples) of each update: in an epoch all of them once, in a new random order, `size` at a time."""
    orders = [rng.sample(examples, len(examples)) for _ in range(epochs)]
    return [(epoch, order[i:i + size]) for epoch, order in enumerate(orders) for i in range(0, len(order), size)]


def finetune(model: LanguageModel, examples: list[Example], *, epochs: int, lr: float, batch: int,
             rng: random.Random, keep: Callable = lambda plan, **_: plan) -> Iterator[dict[str, float]]:
    """Train in place, lr falling to 0 after a warm-up; yields each step's stats. `keep` skips those done, and saves."""
    device = next(model.parameters()).device
    optimiser = optimise.adamw([{"params": list(model.parameters())}], lr)
    plan = batches(examples, batch, epochs, rng)
    for step, (epoch, some) in keep(enumerate(plan, start=1), model=model, optimiser=optimiser):
        ids, weight = (tokens.pad(part, 0).to(device) for part in zip(*some, strict=True))    # pads are not learned
        loss = sequence_loss(model, ids, weight)
        norm = optimise.update(loss, [optimiser], scale=min(1.0, step / 10) * (1 - (step - 1) / len(plan)))
        yield {"step": step, "epoch": epoch, "loss": loss.item(), "grad_norm": norm}
