"""Sampling, ids -> ids. The policy is softmax(logits / temperature), and log-probs are of that, here and elsewhere."""
import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn

from minicai import UserError, tokens
from minicai.model import Cache, LanguageModel, compute_dtype

REPLAYED = ("cuda",)            # where steps are replayed: there it costs more to launch them, and to ask who is done
BUCKET = 128                    # a recording serves for so many lengths


def lowered(model: LanguageModel) -> LanguageModel:
    """The model with its linear maps stored in the compute dtype, to which autocast would bring them at every step."""
    twin = copy.deepcopy(model, {id(weight): weight for weight in model.parameters()})    # shares all weights with it
    for linear in (module for module in twin.modules() if isinstance(module, nn.Linear)):
        for name, weight in linear.named_parameters():
            setattr(linear, name, nn.Parameter(weight.to(compute_dtype(model.config, weight.device)), False))
    return twin


@torch.no_grad()
def generate(model: LanguageModel, prompts: list[list[int]], *, max_new: int, stops: set[int],
             generator: torch.Generator, temperature: float = 1.0, top_p: float = 1.0,
             batch: int = 256) -> tuple[list[list[int]], list[list[float]]]:
    """Continue each prompt, as if alone, to a stop token (kept) or `max_new`: replies, log-probs. T = 0: greedy."""
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))              # alike lengths together: fewer pads
    replies, logps = [[] for _ in prompts], [[] for _ in prompts]
    longest, context = max(map(len, prompts), default=0), model.config.max_position_embeddings
    if longest + max_new > context:
        raise UserError(f"a conversation of {longest} tokens and {max_new} new ones are more than the model's context, "
                        f"{context}: leave out long prompts and examples, or lower --max-new")
    ends = torch.tensor([i in stops for i in range(model.config.vocab_size)], device=next(model.parameters()).device)
    model = lowered(model)
    for start in range(0, len(order), batch):
        rows = order[start:start + batch]
        said, logp = _generate(model, [prompts[i] for i in rows], max_new, ends, generator, temperature, top_p)
        for i, row_tokens, row_logp in zip(rows, said.tolist(), logp.tolist(), strict=True):
            length = next((t + 1 for t, token in enumerate(row_tokens) if token in stops), max_new)
            replies[i], logps[i] = row_tokens[:length], row_logp[:length]
    return replies, logps


def _generate(model, prompts, max_new: int, ends: Tensor, generator, temperature: float, top_p: float):
    """One batch: prefill, then a token for every row a step; on a CPU rows that have stopped leave the batch."""
    device, B = ends.device, len(prompts)
    ids, length = tokens.pad(prompts, 0).to(device), torch.tensor([len(p) for p in prompts], device=device)
    width, rows = ids.shape[1], torch.arange(B, device=device)                      # rows: who is in the batch
    cache = Cache(model.config, B, width + max_new, device)
    logits = model.logits(model.model(ids, cache)[rows, length - 1])                # (B, V): at each row's last token
    cache.position = length.clone()

    def decode(token: Tensor, seen: int) -> Tensor:
        return model(token[:, None], cache, min(seen, width + max_new))[:, 0]       # (B, V)
    step, look = (replayed(decode, B, device), 16) if device.type in REPLAYED else (decode, 1)  # looks for who is done
    said, logps, done = length.new_zeros(B, max_new), torch.zeros(B, max_new, device=device), length < 0
    for t in range(max_new):
        u = torch.rand(B, generator=generator, device=device)[rows] if temperature else None    # all draw: none shifts
        token, logp = choose(logits, u, temperature, top_p)
        said[rows, t], logps[rows, t] = token, logp
        done |= ends[token]
        if t + 1 == max_new or (t + 1) % look == 0 and done.all():
            break
        if look == 1 and (left := -(-int((~done).sum()) // 32) * 32) < len(rows):    # by 32: few distinct shapes occur
            keep = done.to(torch.int8).argsort(stable=True)[:left]
            rows, token, done = rows[keep], token[keep], done[keep]
            cache.select(keep)
        logits = step(token, width + t + 1)
        cache.position += 1
    return said, logps


def replayed(step: Callable[[Tensor, int], Tensor], rows: int, device: torch.device) -> Callable[[Tensor, int], Tensor]:
    """step(token (B,), seen) -> logits (B, V), by recordings on a buffer that stays, one for each bucket of `seen`.

    What else `step` reads must change in place only; `seen` may be more than asked; logits last until the next step."""
    buffer, recordings = torch.zeros(rows, dtype=torch.long, device=device), {}

    def again(token: Tensor, seen: int) -> Tensor:
        seen = -(-seen // BUCKET) * BUCKET
        buffer.copy_(token)
        if seen not in recordings:
            recordings[seen] = captured(lambda: step(buffer, seen))
        return recordings[seen]()
    return again


def captured(step: Callable[[], Tensor]) -> Callable[[], Tensor]:
    """`step()` as one launch, its result always in the same memory. To do it twice must be as to do it once."""
    step()                                              # libraries set themselves up before the recording, not in it
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        out = step()                                    # is recorded, not done
    return lambda: (graph.replay(), out)[1]


def choose(logits: Tensor, u: Tensor | None, temperature: float, top_p: float = 1.0) -> tuple[Tensor, Tensor]:
    """Draw a token a row by inverting the distribution at u in [0, 1): (B, V), (B,) -> tokens (B,), log-probs (B,)."""
    if temperature == 0:
        logp = logits.float().log_softmax(-1)
        return logits.argmax(-1), logp.max(-1).values
    logp = (logits.float() / temperature).log_softmax(-1)                           # (B, V)
    if top_p < 1:            # keep the smallest set that holds this much, renormalised (Holtzman et al. 2020)
        ranked, index = logp.sort(-1, descending=True)
        before = ranked.exp().cumsum(-1) - ranked.exp()
        dropped = torch.zeros_like(logp, dtype=torch.bool).scatter(-1, index, before >= top_p)
        logp = logp.masked_fill(dropped, float("-inf")).log_softmax(-1)
    cdf = logp.exp().cumsum(-1)                                                     # (B, V)
    token = (cdf <= u[:, None] * cdf[:, -1:]).sum(-1).clamp(max=logits.shape[-1] - 1)
    return token, logp.gather(-1, token[:, None])[:, 0]
