"""Ten other losses, each a plug of train_ppo.main: loss_fn(new, old), advantage_fn(old, cfg) or reward_fn.

    train_ppo.main(Config(samples_per_prompt=4, prompts=32), loss_fn=reinforce, advantage_fn=rloo)

The script whitens what an advantage_fn returns, over the whole rollout. All of them, as an experiment of the lab:

    python tests/variants.py --run runs/default"""
import json
import sys
import tomllib
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import mean

import torch
from torch import Tensor

import train_ppo
from minicai import UserError, tools
from minicai.ppo import New, Old, ppo_loss, sequence_kl
from minicai.tensors import masked_mean
from minicai.tools import lab
from minicai.toyworld.gold import OBJECTS

Loss = tuple[Tensor, dict[str, Tensor]]


def with_policy_loss(policy_loss: Tensor, new: New, old: Old) -> Loss:
    """The PPO loss with another policy loss in the place of its own: critic and health numbers stay."""
    critic, stats = ppo_loss(new, replace(old, adv=torch.zeros_like(old.adv)))      # no advantage: the value loss alone
    loss = policy_loss + critic
    return loss, stats | {"loss": loss.detach(), "policy_loss": policy_loss.detach()}


def gain(new: New, old: Old, clip: float = 0.2) -> Tensor:
    """PPO's clipped surrogate of every token, (B, T)."""
    ratio = torch.where(old.mask, new.logp - old.logp, 0.0).exp()
    return torch.min(ratio * old.adv, ratio.clamp(1 - clip, 1 + clip) * old.adv)


def reinforce(new: New, old: Old) -> Loss:
    """-log pi * A with the critic as baseline (Williams 1992): on policy PPO's gradient, afterwards without a ratio."""
    return with_policy_loss(-masked_mean(new.logp * old.adv, old.mask), new, old)


def dual_clip(new: New, old: Old, most: float = 3.0) -> Loss:
    """Where A < 0 the loss is bounded too, by `most` times -A (Ye et al. 2020, arXiv 1912.09729, eq. 5)."""
    bounded = torch.where(old.adv < 0, torch.max(gain(new, old), most * old.adv), gain(new, old))
    return with_policy_loss(-masked_mean(bounded, old.mask), new, old)


def entropy_bonus(new: New, old: Old, coef: float = 0.01) -> Loss:
    """On the exact entropy: the mean of the sampled -log pi has an expected gradient of zero on policy."""
    loss, stats = ppo_loss(new, old)
    return loss - coef * masked_mean(new.entropy, old.mask), stats


def k2(d: Tensor) -> Tensor:
    """d^2 / 2, d = log(policy / reference): on policy its mean gradient is that of KL(policy || reference)."""
    return d ** 2 / 2


def k3(d: Tensor) -> Tensor:
    """exp(-d) - 1 + d: its mean is KL(policy || reference), its mean gradient that of KL(reference || policy)."""
    return (-d).exp() - 1 + d


def kl_in_loss(new: New, old: Old, estimate: Callable[[Tensor], Tensor] = k2, coef: float = 0.3) -> Loss:
    """The price of the KL in the loss; `score_alone` takes it out of the rewards."""
    loss, stats = ppo_loss(new, old)
    return loss + coef * masked_mean(estimate(torch.where(old.mask, new.logp - old.logp_ref, 0.0)), old.mask), stats


def score_alone(old: Old, cfg: train_ppo.Config) -> tuple[Tensor, Tensor]:
    return train_ppo.gae_advantages(old, replace(cfg, kl_coef=0.0))


def length_penalty(old: Old, cfg: train_ppo.Config, price: float = 0.05) -> tuple[Tensor, Tensor]:
    """Each token costs `price` of the score."""
    return train_ppo.gae_advantages(replace(old, score=old.score - price * old.mask.sum(1)), cfg)


def of_group(x: Tensor, group: Tensor) -> tuple[Tensor, Tensor]:
    """For each row the sum over its group and the group's size, both (B,)."""
    same = (group[:, None] == group).to(x.dtype)                                    # (B, B)
    if same.sum(1).min() < 2:
        raise UserError("a group baseline needs --samples-per-prompt of 2 at least")
    return same @ x, same.sum(1)


def rloo(old: Old, cfg: train_ppo.Config) -> tuple[Tensor, Tensor]:
    """Score less KL, minus the mean of the group's others (Ahmadian et al. 2024, arXiv 2402.14740); no critic."""
    total = old.score - cfg.kl_coef * sequence_kl(old)
    summed, size = of_group(total, old.group)
    return torch.where(old.mask, (total - (summed - total) / (size - 1))[:, None], 0.0), old.value


def grpo(old: Old, cfg: train_ppo.Config) -> tuple[Tensor, Tensor]:
    """The score whitened within its group (Shao et al. 2024, arXiv 2402.03300); no critic, the KL is in the loss."""
    summed, size = of_group(old.score, old.group)
    centred = old.score - summed / size
    spread = (of_group(centred ** 2, old.group)[0] / size).sqrt()
    return torch.where(old.mask, (centred / (spread + 1e-4))[:, None], 0.0), old.value


def grpo_loss(new: New, old: Old, coef: float = 0.3) -> Loss:
    """Clipped surrogate less k3, the mean of each response first: a long one weighs no more (their eq. 3)."""
    kl = k3(torch.where(old.mask, new.logp - old.logp_ref, 0.0))
    return with_policy_loss(-masked_mean(gain(new, old) - coef * kl, old.mask, dim=1).mean(), new, old)


def says_no(prompts: list[str], texts: list[str]) -> Tensor:
    """A reward written in a line: 1 for whatever begins as an objection."""
    return torch.tensor([float(text.startswith(OBJECTS)) for text in texts])


VARIANTS: dict[str, dict] = {
    "PPO": {}, "no clip": {"loss_fn": partial(ppo_loss, clip=float("inf"))}, "dual clip": {"loss_fn": dual_clip},
    "REINFORCE": {"loss_fn": reinforce},
    "RLOO": {"loss_fn": reinforce, "advantage_fn": rloo}, "GRPO": {"loss_fn": grpo_loss, "advantage_fn": grpo},
    "KL in the loss, k2": {"loss_fn": kl_in_loss, "advantage_fn": score_alone},
    "KL in the loss, k3": {"loss_fn": partial(kl_in_loss, estimate=k3), "advantage_fn": score_alone},
    "entropy bonus": {"loss_fn": entropy_bonus}, "length penalty": {"advantage_fn": length_penalty},
    "reward by hand": {"reward_fn": says_no}}


def losses(bench: lab.bench.Bench) -> dict[str, dict]:
    """PPO and ten others on one reward model: means of the last five rollouts, then gold on test requests."""
    def trained(key: str) -> dict[str, float]:
        run, groups = bench.take(key, "base", "sl", "rm"), {"prompts": 32, "samples_per_prompt": 4}
        bench.script("ppo", run, plugs=VARIANTS[key], **groups if key in ("RLOO", "GRPO") else {})
        last = [json.loads(line) for line in (run / "ppo" / "metrics.jsonl").read_text().splitlines()[-6:-1]]
        return {name: mean(step[name] for step in last) for name in ("score", "kl", "length", "entropy", "ratio_max")
                } | bench.behaviour(run / "ppo")
    return bench.parts({key: partial(trained, key) for key in VARIANTS})


lab.EXPERIMENTS["losses"] = losses
lab.pictures.TEXTS["losses"] = tomllib.loads(Path(__file__).with_suffix(".toml").read_text("utf-8"))
if __name__ == "__main__":
    sys.argv[1:1] = ["lab", "losses"]
    tools.main()
