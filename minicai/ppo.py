"""PPO on language (Ziegler et al. 2019, Stiennon et al. 2020, Bai et al. 2022a). Tensors in, tensors out; no model.

Every (B, T) tensor is in the action frame of `tensors`: column t speaks of token t+1, off the mask nothing counts."""
import warnings
from dataclasses import dataclass

import torch
from torch import Tensor

from minicai.optimise import Diverged
from minicai.tensors import masked_mean, masked_sum


@dataclass(frozen=True, slots=True)
class New:
    """What the network says now: all that carries a gradient. Each (B, T)."""
    logp: Tensor        # log pi(x_{t+1} | x_{0..t})
    entropy: Tensor     # of pi(. | x_{0..t}), exact
    value: Tensor       # V(x_{0..t}), before x_{t+1} is seen


@dataclass(frozen=True, slots=True)
class Old:
    """What was written down at the rollout; a minibatch of it is rows of it."""
    ids: Tensor                     # (B, T) tokens
    mask: Tensor                    # (B, T) bool, the policy's actions, the first <end> included
    logp: Tensor                    # (B, T) by the policy that sampled
    logp_ref: Tensor                # (B, T) by the frozen reference
    value: Tensor                   # (B, T)
    score: Tensor                   # (B,) the judge's number for the whole response
    group: Tensor                   # (B,) rows with the same number answer the same prompt
    adv: Tensor | None = None       # (B, T)
    ret: Tensor | None = None       # (B, T)

    def rows(self, index: Tensor) -> "Old":
        return Old(*(getattr(self, name)[index] for name in self.__slots__))


def token_rewards(score: Tensor, logp: Tensor, logp_ref: Tensor, mask: Tensor, *, kl_coef: float) -> Tensor:
    """-kl_coef * (logp - logp_ref), the score (B,) on the last action too (Ziegler et al. 2019, eq. 2): (B, T).

    The difference is the k1 estimate of the KL to the *reference*: right on average, it may be negative at a token."""
    assert logp.shape == logp_ref.shape == mask.shape == (*score.shape, mask.shape[1]), (score.shape, logp.shape)
    last = mask & (mask.flip(1).cumsum(1).flip(1) == 1)                        # an action, and none comes after it
    return torch.where(mask, -kl_coef * (logp - logp_ref), 0.0) + torch.where(last, score[:, None], 0.0)


def gae(reward: Tensor, value: Tensor, mask: Tensor, *, gamma: float = 1.0, lam: float = 0.95) -> tuple[Tensor, Tensor]:
    """Generalised advantage estimation (Schulman et al. 2016, eq. 16): all (B, T) -> advantages A, returns A + V.

    delta_t = r_t + gamma V_{t+1} - V_t, A_t = delta_t + gamma lam A_{t+1}; after the last action both next terms are 0,
    for a response that was cut off too: it counts as over, and its score carries the penalty."""
    assert reward.shape == value.shape == mask.shape, (reward.shape, value.shape, mask.shape)
    reward, value = torch.where(mask, reward, 0.0), torch.where(mask, value, 0.0)
    adv, ahead, next_value = torch.zeros_like(reward), reward.new_zeros(len(reward)), reward.new_zeros(len(reward))
    for t in reversed(range(reward.shape[1])):
        delta = reward[:, t] + gamma * next_value - value[:, t]
        ahead = torch.where(mask[:, t], delta + gamma * lam * ahead, 0.0)
        adv[:, t], next_value = ahead, value[:, t]
    return adv, torch.where(mask, adv + value, 0.0)


def ppo_loss(new: New, old: Old, *, clip: float = 0.2, value_clip: float = 0.2,
             value_coef: float = 0.1) -> tuple[Tensor, dict[str, Tensor]]:
    """Clipped surrogate and clipped value error (Schulman et al. 2017, eq. 7 and 9), means over the minibatch's tokens.

    The textbook's entropy bonus is left out, as in the paper; `new.entropy` is there for who wants one."""
    assert new.logp.shape == old.logp.shape == old.adv.shape == old.mask.shape, (new.logp.shape, old.mask.shape)
    log_ratio = torch.where(old.mask, new.logp - old.logp, 0.0)
    ratio = log_ratio.exp()
    policy_loss = -masked_mean(torch.min(ratio * old.adv, ratio.clamp(1 - clip, 1 + clip) * old.adv), old.mask)
    value = torch.where(old.mask, new.value, 0.0)                            # a NaN on a pad must not reach a gradient
    near = old.value + (value - old.value).clamp(-value_clip, value_clip)
    value_loss = 0.5 * masked_mean(torch.max((value - old.ret) ** 2, (near - old.ret) ** 2), old.mask)
    loss = policy_loss + value_coef * value_loss
    stats = {"loss": loss, "policy_loss": policy_loss, "value_loss": value_loss,
             "entropy": masked_mean(new.entropy, old.mask),
             "approx_kl": masked_mean(ratio - 1 - log_ratio, old.mask),      # old against new: health, not the penalty
             "clipfrac": masked_mean(((ratio - 1).abs() > clip).float(), old.mask), "ratio_max": ratio.max()}
    return loss, {name: value.detach() for name, value in stats.items()}


def first_ratio(new: New, old: Old, *, rounding: float = 1e-4) -> float:
    """The new/old ratio farthest from 1 before a rollout's first update: it must be 1, but for rounding."""
    log_ratio = (new.logp.detach() - old.logp)[old.mask]
    ratio = log_ratio[log_ratio.abs().argmax()].exp().item()
    if not abs(ratio - 1) < rounding:
        raise Diverged(f"the ratio is {ratio:.5f} before any update: the policy is not the one that sampled")
    return ratio


def penalise_unended(score: Tensor, ended: Tensor, worst: float, penalty: float) -> Tensor:
    """A response without an end scores at most `worst`, the lowest score of the first rollout, - penalty: (B,)."""
    return torch.where(ended, score, score.clamp(max=worst) - penalty)     # a fixed -1, as is usual, could be a gain


def sequence_kl(old: Old) -> Tensor:
    """The k1 estimate of KL(policy || reference), in nats a response: (B,)."""
    return masked_sum(old.logp - old.logp_ref, old.mask, dim=1)


def summary(old: Old) -> dict[str, float]:
    """Mean score (without the KL, which would hide hacking), mean KL, the critic's share of the returns' variance."""
    error, ret = (old.ret - old.value)[old.mask], old.ret[old.mask]
    explained = 1 - error.var() / ret.var().clamp(min=1e-8)    # 1: a perfect critic, 0: one that says a constant
    if (kl := sequence_kl(old).mean().item()) < -1:
        warnings.warn(f"KL {kl:.2f}, though none is negative: are responses sampled at the temperature of their "
                      "log-probs, and is the reference what the policy was at first?", stacklevel=2)
    return {"score": old.score.mean().item(), "kl": kl, "explained_variance": explained.item()}


def adapt_kl_coef(kl_coef: float, old: Old, *, target: float, horizon: float) -> float:
    """Raise it where the KL (nats a response) is over its target, else lower it (Ziegler et al. 2019, section 2.2)."""
    error = (sequence_kl(old).mean().item() / target - 1) if target else 0.0          # target 0: leave it as it is
    return kl_coef * (1 + min(max(error, -0.2), 0.2) / max(1.0, horizon))             # a fifth at most in `horizon`
