"""Plausible wrong versions: (what it replaces, its name, the function, why it is wrong). Every one must die by some law.

A number is the detail's in the design notes on PPO; a name with # is the issue or pull request where it happened.
"""
from contextlib import nullcontext

import torch
import torch.nn.functional as F

from minicai import ppo, preference, sample, tensors, tokens
from minicai.tensors import masked_mean, shift

right_logp, right_mask, right_rewards, right_choose = tensors.token_logp, tensors.action_mask, ppo.token_rewards, sample.choose
right_bt, right_render = preference.bradley_terry_loss, tokens.Tokenizer.render


def surrogate(r, a):
    return torch.min(r * a, r.clamp(.8, 1.2) * a)


def loss(policy=surrogate, worse=torch.max, mean=masked_mean, k3=1, half=.5):
    """ppo_loss with one of its parts replaced."""
    def wrong(new, old, *, clip=.2, value_clip=.2, value_coef=.1):
        d, v = (torch.where(old.mask, x, 0.) for x in (new.logp - old.logp, new.value))
        near = old.value + (v - old.value).clamp(-value_clip, value_clip)
        terms = policy(d.exp(), old.adv), worse((v - old.ret) ** 2, (near - old.ret) ** 2), new.entropy, \
            (k3 * d).exp() - 1 - k3 * d, ((d.exp() - 1).abs() > clip).float()
        p, v, entropy, kl, clipfrac = (mean(x, old.mask) for x in terms)
        stats = dict(loss=value_coef * half * v - p, policy_loss=-p, value_loss=half * v, ratio_max=d.exp().max(),
                     entropy=entropy, approx_kl=kl, clipfrac=clipfrac)
        return stats["loss"], {name: x.detach() for name, x in stats.items()}
    return wrong


def gae(pads=False, lam_too=True, delta=lambda r, v, after, gamma: r + gamma * after - v):
    """gae with one of its parts replaced."""
    def wrong(reward, value, mask, *, gamma=1.0, lam=.95):
        seen = torch.ones_like(mask) if pads else mask
        adv, ahead, after = torch.zeros_like(reward), 0, 0
        for t in reversed(range(reward.shape[1])):
            ahead = torch.where(seen[:, t], delta(reward[:, t], value[:, t], after, gamma) + gamma * (lam if lam_too else 1) * ahead, 0)
            adv[:, t], after = ahead, torch.where(seen[:, t], value[:, t], 0)
        return torch.where(mask, adv, 0), torch.where(mask, adv + value, 0)
    return wrong


def update_late(loss, optimisers, *, scale=1.0, max_norm=1.0):
    ...
