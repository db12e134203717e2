"""Rollouts: prompts -> `Old` for PPO. Top-p is 1: the policy is softmax(logits / temperature), as in the update."""
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from minicai import ppo, sample, tensors, tokens
from minicai.model import LanguageModel, ScalarModel


def look(policy: LanguageModel, critic: ScalarModel | None, ids: Tensor, mask: Tensor, temperature: float) -> ppo.New:
    """One teacher-forced pass: log-prob, entropy and value of every action; all (B, T), 0 off the mask."""
    hidden, zero = policy.model(ids), torch.zeros(mask.shape, device=ids.device)      # (B, T, C), for the critic too

    def read(logits: Tensor, target: Tensor) -> Tensor:
        return torch.stack([tensors.target_logp(logits, target, temperature), tensors.entropy(logits, temperature)], 1)
    logp, spread = policy.predict(hidden, mask, tensors.shift(ids), read).T           # (N,), only the N actions
    value = torch.where(mask, critic.read(hidden), 0.0) if critic else zero
    return ppo.New(zero.masked_scatter(mask, logp), zero.masked_scatter(mask, spread), value)


@dataclass(frozen=True, slots=True)
class Rollout:
    """What came of a batch of prompts, a row a response."""
    old: ppo.Old                # still without score, advantage and return
    prompts: list[str]
    texts: list[str]            # the responses in words
    ended: Tensor               # (B,) bool: did the response end, or was it cut off?
    stats: dict[str, float]

    @torch.no_grad()
    def records(self, iteration: int, old: ppo.Old, policy: LanguageModel, tokenizer: tokens.Tokenizer, *,
                kl_coef: float, temperature: float, count: int = 4) -> list[dict]:
        """The first and the last few rows to read, token by token; `ratio` is of the policy as it is after updates."""
        rows = sorted({*range(len(old.ids))[:count], *range(len(old.ids))[-count:]})
        old = old.rows(torch.tensor(rows, device=old.ids.device))
        columns = {"logp": old.logp, "logp_ref": old.logp_ref, "value": old.value, "adv": old.adv, "ret": old.ret,
                   "reward": ppo.token_rewards(old.score, old.logp, old.logp_ref, old.mask, kl_coef=kl_coef),
                   "ratio": (look(policy, None, old.ids, old.mask, temperature).logp - old.logp).exp()}
        return [{"iteration": iteration, "prompt": self.prompts[row], "response": self.texts[row],
                 "score": round(old.score[i].item(), 4), "kl": round(ppo.sequence_kl(old)[i].item(), 4),
                 "tokens": [tokenizer.decode([t]) or ("<end>" if t == tokenizer.end else f"<{t}>")
                            for t in tensors.shift(old.ids)[i][old.mask[i]].tolist()]} |
                {name: [round(x, 4) for x in column[i][old.mask[i]].tolist()] for name, column in columns.items()}
                for i, row in enumerate(rows)]


@torch.no_grad()
def rollout(policy: LanguageModel, reference: LanguageModel, critic: ScalarModel, tokenizer: tokens.Tokenizer,
            prompts: list[str], *, samples: int, max_new: int, temperature: float, generator: Generator) -> Rollout:
    """Sample `samples` responses to each prompt and write down what policy, reference and critic say of each token."""
    prompts = [prompt for prompt in prompts for _ in range(samples)]
    given = [tokenizer.prompt([("user", prompt)]) for prompt in prompts]
    responses, sampled = sample.generate(policy, given, max_new=max_new, stops=tokenizer.stops, temperature=temperature,
                                         generator=generator)
    device = generator.device
    ids = tokens.pad([p + r for p, r in zip(given, responses, strict=True)], tokenizer.pad).to(device)
    start, length = (torch.tensor([len(row) for row in rows], device=device) for rows in (given, responses))
    mask = tensors.action_mask(ids, start, start + length)
    now = look(policy, critic, ids, mask, temperature)              # the update's own pass: so the first ratio is 1
    score, group = torch.zeros(len(ids), device=device), torch.arange(len(ids), device=device) // samples
    gap = torch.zeros_like(now.logp).masked_scatter(mask, torch.tensor(sum(sampled, []), device=device)) - now.logp
    ended = torch.tensor([r[-1] == tokenizer.end for r in responses], device=device)
    stats = {"length": length.float().mean().item(), "ended": ended.float().mean().item(),
             "lp_gap_mean": tensors.masked_mean(gap.abs(), mask).item(), "lp_gap_max": gap.abs().max().item()}
    old = ppo.Old(ids, mask, now.logp, look(reference, None, ids, mask, temperature).logp, now.value, score, group)
    return Rollout(old, prompts, [tokenizer.decode(r) for r in responses], ended, stats)
