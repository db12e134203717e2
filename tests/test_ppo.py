"""Laws of PPO on tokens: rewards, advantages, the loss, the estimates of the KL, and the rollout that feeds them."""
import itertools
import math
from dataclasses import fields, replace

import pytest
import torch

import minicai.ppo as ppo
import minicai.rollout as rollout
import minicai.tensors as tensors
from minicai.model import ScalarModel

NAN = float("nan")
close = torch.testing.assert_close
MASK = torch.tensor([[0, 1, 1, 0, 0], [1, 1, 1, 1, 0], [0, 0, 1, 0, 0]]).bool()       # 7 actions
WRITTEN = ("logp", "logp_ref", "value", "adv", "ret")                                 # the (B, T) floats of Old


def random_batch(spread: float = 0.3) -> tuple[ppo.New, ppo.Old]:
    """A ragged batch, the network's outputs as leaves; the old log-probs lie `spread` away from the new."""
    x = {name: torch.randn(MASK.shape) for name in WRITTEN}
    new = ppo.New(*((x["logp"] + spread * torch.randn(MASK.shape)).requires_grad_(), torch.rand(MASK.shape),
                    torch.randn(MASK.shape, requires_grad=True)))
    ids, group = torch.randint(9, MASK.shape), torch.arange(3)
    return new, ppo.Old(ids, MASK, x["logp"], x["logp_ref"], x["value"], torch.randn(3), group, x["adv"], x["ret"])


def one_token(ratio=1.0, adv=0.0, value=0.0, ret=0.0) -> tuple[ppo.New, ppo.Old]:
    """A single action, its old value 0 and its old log-prob -1."""
    t, one = (lambda x: torch.tensor([[float(x)]])), torch.ones(1, 1, dtype=torch.bool)
    new = ppo.New((t(math.log(ratio) - 1)).requires_grad_(), t(0), t(value).requires_grad_())
    return new, ppo.Old(one.long(), one, t(-1), t(-1), t(0), torch.zeros(1), torch.zeros(1), t(adv), t(ret))


def dirty(new: ppo.New, old: ppo.Old) -> tuple[ppo.New, ppo.Old]:
    """The same batch with NaN in every float off the mask."""
    def spoil(x):
        return torch.where(old.mask, x.detach(), NAN).requires_grad_(x.requires_grad)
    return (ppo.New(*(spoil(getattr(new, f.name)) for f in fields(new))),
            replace(old, **{name: spoil(getattr(old, name)) for name in WRITTEN}))


# The loss


@pytest.mark.parametrize("ratio, adv, loss", [(1.5, 1, -1.2), (1.5, -1, 1.5), (.5, 1, -.5), (.5, -1, .8), (1.1, 2, -2.2)])
def test_policy_loss_by_hand(ratio, adv, loss):
    close(ppo.ppo_loss(*one_token(ratio, adv))[1]["policy_loss"].item(), loss)


@pytest.mark.parametrize("value, loss", [(.5, .32), (-.5, 1.125), (.1, .405)])
def test_value_loss_by_hand(value, loss):
    total, stats = ppo.ppo_loss(*one_token(value=value, ret=1.0), value_coef=0.3)
    close(stats["value_loss"].item(), loss)
    close(total.item(), 0.3 * loss)


@pytest.mark.parametrize("ratio, adv, slope", [(1.5, 1, 0), (.5, -1, 0), (1.5, -1, 1.5), (.5, 1, -.5), (1.1, 1, -1.1)])
def test_the_loss_is_flat_past_the_clip_on_the_helpful_side_and_steep_on_the_harmful(ratio, adv, slope):
    new, old = one_token(ratio, adv)
    ppo.ppo_loss(new, old)[0].backward()
    close(new.logp.grad.item(), float(slope))


def test_on_policy_the_gradient_is_minus_advantage_over_the_number_of_actions():
    new, old = random_batch(spread=0)
    loss, stats = ppo.ppo_loss(new, replace(old, value=new.value.detach()), value_coef=0.5)
    loss.backward()
    close(new.logp.grad, torch.where(MASK, -old.adv / 7, 0))
    close(new.value.grad, torch.where(MASK, 0.5 * (new.value.detach() - old.ret) / 7, 0))
    assert stats["clipfrac"] == stats["approx_kl"] == 0 and stats["ratio_max"] == 1


def test_nan_on_pads_reaches_neither_loss_nor_stats_nor_gradient():
    new, old = random_batch()
    spoiled, spoiled_old = dirty(new, old)
    (loss, stats), (loss2, stats2) = ppo.ppo_loss(new, old), ppo.ppo_loss(spoiled, spoiled_old)
    loss.backward(), loss2.backward()
    close(stats2, stats)
    close((spoiled.logp.grad, spoiled.value.grad), (new.logp.grad, new.value.grad))


def test_extra_columns_change_nothing():
    new, old = random_batch()
    wide = [replace(x, **{f.name: torch.cat([v, torch.full_like(v[:, :2], 0 if f.name == "mask" else 7)], dim=1)
                          for f in fields(x) if (v := getattr(x, f.name)).ndim == 2}) for x in (new, old)]
    close(ppo.ppo_loss(*wide)[1], ppo.ppo_loss(new, old)[1])


def test_stats_are_detached_and_their_loss_is_the_loss():
    loss, stats = ppo.ppo_loss(*random_batch(), value_coef=0.2)
    assert loss.requires_grad and not any(value.requires_grad for value in stats.values())
    close(stats["loss"], stats["policy_loss"] + 0.2 * stats["value_loss"])
    close(loss.detach(), stats["loss"])


def test_old_numbers_are_constants():
    new, old = random_batch()
    old = replace(old, **{name: getattr(old, name).requires_grad_() for name in ("logp", "adv", "ret", "value")})
    loss = ppo.ppo_loss(new, replace(old, adv=old.adv.detach()))[0]
    assert torch.autograd.grad(loss, old.logp_ref.requires_grad_(), allow_unused=True)[0] is None


def test_clipfrac_is_the_share_of_actions_outside_the_clip():
    logp = torch.tensor([[math.log(1.21), math.log(.79), math.log(1.19), math.log(.81), 9.0]])
    zero, mask = torch.zeros(1, 5), torch.tensor([[True] * 4 + [False]])
    old = ppo.Old(zero.long(), mask, zero, zero, zero, zero[0], zero[0], zero, zero)
    stats = ppo.ppo_loss(ppo.New(logp, zero + 2, zero), old)[1]
    assert stats["clipfrac"] == 0.5 and stats["entropy"] == 2
    close(stats["ratio_max"].item(), 1.21)


# Rewards and advantages


def test_rewards_of_a_response_sum_to_its_score_minus_the_price_of_its_kl():
    old = dirty(*random_batch())[1]
    reward = ppo.token_rewards(old.score, old.logp, old.logp_ref, MASK, kl_coef=0.3)
    close(reward.sum(1), old.score - 0.3 * ppo.sequence_kl(old))
    assert (reward[~MASK] == 0).all()


def test_the_score_lands_on_the_last_action_though_pads_lie_behind_it():
    zero = torch.zeros(MASK.shape)
    reward = ppo.token_rewards(torch.tensor([5., 6., 7.]), zero, zero, MASK, kl_coef=0.3)
    assert reward.tolist() == [[0, 0, 5, 0, 0], [0, 0, 0, 6, 0], [0, 0, 7, 0, 0]]


def test_a_row_without_actions_earns_nothing():
    zero = torch.zeros(1, 3)
    assert (ppo.token_rewards(torch.ones(1), zero, zero, zero.bool(), kl_coef=1.0) == 0).all()


def test_the_penalty_by_hand_is_the_difference_of_log_probs_of_either_sign():
    logp, ref = torch.tensor([[-1., -3.]]), torch.tensor([[-2., -1.]])
    reward = ppo.token_rewards(torch.zeros(1), logp, ref, torch.ones(1, 2).bool(), kl_coef=0.5)
    assert reward.tolist() == [[-.5, 1.]]


def test_advantages_by_hand():
    reward, value = torch.tensor([[0., 0., 1.]]), torch.full((1, 3), .5)
    adv, ret = ppo.gae(reward, value, torch.ones(1, 3).bool(), gamma=1.0, lam=.5)
    assert adv.tolist() == [[1 / 8, 1 / 4, 1 / 2]] and ret.tolist() == [[5 / 8, 3 / 4, 1]]


@pytest.mark.parametrize("gamma, lam", [(1, 0), (.9, 0), (1, 1), (.9, 1), (.9, .7), (1, .95)])
def test_an_advantage_is_the_discounted_sum_of_td_errors(gamma, lam):
    reward, value = torch.randn(1, 6), torch.randn(1, 6)
    after = torch.cat([value[:, 1:], torch.zeros(1, 1)], dim=1)
    delta = (reward + gamma * after - value)[0]
    expected = [sum((gamma * lam) ** k * delta[t + k] for k in range(6 - t)) for t in range(6)]
    close(ppo.gae(reward, value, torch.ones(1, 6).bool(), gamma=gamma, lam=lam)[0][0], torch.stack(expected))


def test_without_discount_or_bootstrap_it_is_reward_to_go_minus_value_and_the_return_is_reward_to_go():
    reward, value = (torch.where(MASK, torch.randn(MASK.shape), 0) for _ in range(2))
    adv, ret = ppo.gae(reward, value, MASK, gamma=1.0, lam=1.0)
    to_go = torch.where(MASK, reward.flip(1).cumsum(1).flip(1), 0)
    close(adv, to_go - value)
    close(ret, to_go)


def test_garbage_off_the_mask_and_extra_columns_change_no_advantage():
    reward, value = torch.randn(MASK.shape), torch.randn(MASK.shape)
    plain = ppo.gae(reward * MASK, value * MASK, MASK)
    spoiled = [torch.cat([torch.where(MASK, x, NAN), torch.full((3, 2), 9.)], dim=1) for x in (reward, value)]
    wide = ppo.gae(*spoiled, torch.cat([MASK, torch.zeros(3, 2).bool()], dim=1))
    close([x[:, :5] for x in wide], list(plain))
    assert all((x[:, 5:] == 0).all() and (x[:, :5][~MASK] == 0).all() for x in wide)


# The KL and the numbers beside it

P, Q = [.5, .2, .15, .1, .05], [.1, .3, .3, .2, .1]
KL = sum(p * math.log(p / q) for p, q in zip(P, Q, strict=True))                        # 0.516
DRAWN = torch.tensor([i for i, p in enumerate(P) for _ in range(round(20 * p))])        # 20 draws, exactly as often as P says


def drawn_batch() -> tuple[ppo.New, ppo.Old]:
    """One-token responses drawn from P, whose other policy is Q: new for the loss, reference for the penalty."""
    p, q = (torch.tensor(x).log()[DRAWN, None] for x in (P, Q))
    zero = torch.zeros(20, 1)
    return (ppo.New(q, zero, zero), ppo.Old(DRAWN[:, None], zero == 0, p, q, zero, zero[:, 0], DRAWN, zero, zero))


def test_the_mean_of_sequence_kl_is_the_kl_to_the_reference():
    close(ppo.sequence_kl(drawn_batch()[1]).mean().item(), KL)


def test_the_mean_of_approx_kl_is_the_kl_from_old_to_new_and_each_term_is_positive():
    new, old = drawn_batch()
    close(ppo.ppo_loss(new, old)[1]["approx_kl"].item(), KL)
    new, old = random_batch()
    alone = [ppo.ppo_loss(new, replace(old, mask=MASK & (torch.arange(5) == t)))[1]["approx_kl"] for t in range(4)]
    assert min(alone) > 0


def test_over_all_sequences_the_expected_reward_is_the_expected_score_minus_beta_times_the_exact_kl():
    """Three symbols, 0 ends, at most three tokens: the kl of a sequence is the sum of the kls of its steps."""
    rows = [r for n in (1, 2, 3) for r in itertools.product(range(3), repeat=n) if 0 not in r[:-1] and (n == 3 or r[-1] == 0)]
    ids = torch.tensor([[1, *r] + [2] * (3 - len(r)) for r in rows])
    mask = tensors.action_mask(ids, torch.ones(len(rows)), torch.tensor([1 + len(r) for r in rows]))
    table, ref_table = torch.randn(2, 3, 3).log_softmax(-1)
    logp, logp_ref = (tensors.token_logp(t[ids], ids) for t in (table, ref_table))
    chance, score = (logp * mask).sum(1).exp(), torch.randn(len(rows))
    step_kl = (table.exp() * (table - ref_table)).sum(-1)                              # given the token before
    visits = [sum(c for c, r in zip(chance, rows, strict=True) if len(r) > n and r[n - 1] == s) for n in (1, 2) for s in (1, 2)]
    exact = step_kl[1] + sum(v * step_kl[s] for v, s in zip(visits, (1, 2, 1, 2), strict=True))
    old = ppo.Old(ids, mask, logp, logp_ref, logp, score, score)
    close(chance.sum(), torch.tensor(1.0))
    close((chance * ppo.sequence_kl(old)).sum(), exact)
    reward = ppo.token_rewards(score, logp, logp_ref, mask, kl_coef=0.3)
    close((chance * reward.sum(1)).sum(), (chance * score).sum() - 0.3 * exact)


@pytest.mark.parametrize("score", [-50., -3., -1., 0., 2.])
def test_not_ending_is_never_better_than_ending_nor_than_the_worst(score):
    ended, cut = ppo.penalise_unended(torch.tensor([score, score]), torch.tensor([True, False]), -2.0, 0.5)
    assert ended == score and cut == min(score, -2.0) - 0.5


def test_the_kl_coefficient_rises_and_falls_with_the_kl_and_rests_on_target():
    coefs = [ppo.adapt_kl_coef(0.1, kl, target=5.0, horizon=10) for kl in (0, 4.2, 4.9, 5, 5.1, 5.8, 50)]
    assert coefs == sorted(coefs) and len(set(coefs)) == 7 - 0 * len(coefs)
    close(coefs[0], 0.1 * .98), close(coefs[3], 0.1), close(coefs[4], 0.1 * 1.002), close(coefs[-1], 0.1 * 1.02)


def test_explained_variance_is_one_for_a_perfect_critic_and_zero_for_a_constant_one():
    old = dirty(*random_batch())[1]
    assert ppo.explained_variance(replace(old, value=old.ret)) == 1
    close(ppo.explained_variance(replace(old, value=torch.full_like(old.ret, 4.0))), 0.0, atol=1e-5, rtol=0)
    close(ppo.explained_variance(replace(old, value=old.ret / 2)), 0.75)


def test_a_minibatch_is_the_same_rows_of_every_field():
    old, index = random_batch()[1], torch.tensor([2, 0])
    for f in fields(old):
        assert torch.equal(getattr(old.rows(index), f.name), getattr(old, f.name)[index])
