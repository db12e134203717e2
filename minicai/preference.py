"""The preference model: Bradley-Terry loss with soft targets (Bai et al. 2022, section 4.1), and reading its scores."""
import torch
import torch.nn.functional as F
from torch import Tensor

from minicai.model import ScalarModel
from minicai.tokens import Tokenizer, pad


def bradley_terry_loss(score_a: Tensor, score_b: Tensor, p_a: Tensor, *,
                       weight: Tensor | None = None) -> tuple[Tensor, dict[str, Tensor]]:
    """-[p log s(d) + (1 - p) log s(-d)] with d = score_a - score_b: soft-label cross-entropy (Bradley & Terry 1952).

    All (N,): the scores of two answers, the label p that the first is the better, the weight of each in the mean."""
    assert score_a.shape == score_b.shape == p_a.shape, (score_a.shape, score_b.shape, p_a.shape)
    weight, d = torch.ones_like(p_a) if weight is None else weight, score_a - score_b
    losses = -(p_a * F.logsigmoid(d) + (1 - p_a) * F.logsigmoid(-d))
    entropies = -(torch.xlogy(p_a, p_a) + torch.xlogy(1 - p_a, 1 - p_a))         # mean: the loss's floor
    loss = (weight * losses).sum() / weight.sum()
    sure = ((p_a - 0.5).abs() > 0.25).float()                                    # the label has an opinion
    stats = {"loss": loss, "label_entropy": (weight * entropies).sum() / weight.sum(), "sure": sure.mean(),
             "accuracy": (sure * ((d > 0) == (p_a > 0.5))).sum() / sure.sum().clamp(min=1)}
    return loss, {name: value.detach() for name, value in stats.items()}


def read_scores(model: ScalarModel, tokenizer: Tokenizer, pairs: list[tuple[str, str]]) -> Tensor:
    """Score of each (prompt, response), read at the <end> put behind it, cut off or not: (N,), with gradient."""
    rows = [tokenizer.render([("user", prompt), ("assistant", response)]) for prompt, response in pairs]
    device = model.score.weight.device
    last = torch.tensor([len(row) - 1 for row in rows], device=device)
    hidden = model.model(pad(rows, tokenizer.pad).to(device))                    # causal: pads are not seen
    return model.read(hidden[torch.arange(len(rows), device=device), last])


@torch.no_grad()
def text_scores(model: ScalarModel, tokenizer: Tokenizer, prompts: list[str], responses: list[str]) -> Tensor:
    """`read_scores` of many responses, without gradient, in batches: (N,) on the CPU."""
    rows, none = list(zip(prompts, responses, strict=True)), torch.empty(0)
    return torch.cat([none, *(read_scores(model, tokenizer, rows[i:i + 128]).cpu() for i in range(0, len(rows), 128))])


def normalise(model: ScalarModel, scores: Tensor) -> None:
    """From now on the model's scores have mean 0 and deviation 1 where it gave these; kept with the weights."""
    model.mean += scores.mean().to(model.mean.device) * model.std
    model.std *= scores.std().clamp(min=1e-6).to(model.std.device)
