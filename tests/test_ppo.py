"""Laws of PPO on tokens: the loss, rewards, advantages, and the estimates of the KL."""
import math
from dataclasses import fields, replace

import pytest
import torch
import torch.nn.functional as F

from minicai import optimise, ppo

close = torch.testing.assert_close
MASK = torch.tensor([[0, 1, 1, 0, 0], [1, 1, 1, 1, 0], [0, 0, 1, 0, 0]]).bool()          # 7 actions


def random_batch(spread: float = 0.3) -> tuple[ppo.New, ppo.Old]:
    """A ragged batch, the network's outputs as leaves; the new log-probs lie `spread` away from the old."""
    x = {name: torch.randn(MASK.shape) for name in ("logp", "logp_ref", "value", "adv", "ret")}
    new = ppo.New((x["logp"] + spread * torch.randn(MASK.shape)).requires_grad_(), torch.rand(MASK.shape),
                  torch.randn(MASK.shape, requires_grad=True))
    return new, ppo.Old(torch.randint(9, MASK.shape), MASK, score=torch.randn(3), group=torch.arange(3), **x)


def one_token(ratio=1.0, adv=0.0, value=0.0, ret=0.0) -> tuple[ppo.New, ppo.Old]:
    """A single action, its old value 0 and its old log-prob -1."""
    logp, adv, value, ret, zero = (torch.tensor([[float(x)]]) for x in (math.log(ratio) - 1, adv, value, ret, 0))
    new = ppo.New(logp.requires_grad_(), zero, value.requires_grad_())
    return new, ppo.Old(zero.long(), zero == 0, zero - 1, zero - 1, zero, zero[0], zero[0], adv, ret)


def dirty(x: ppo.New | ppo.Old) -> ppo.New | ppo.Old:
    """The same batch two columns wider, with NaN in every float off the mask; New's fields are leaves again."""
    def spoil(v):
        junk = math.nan if v.is_floating_point() else False
        return F.pad(torch.where(MASK, v.detach(), junk), (0, 2), value=junk).requires_grad_(v.requires_grad)
    return replace(x, **{f.name: spoil(v) for f in fields(x) if (v := getattr(x, f.name)).ndim == 2})


@pytest.mark.parametrize("ratio, adv, loss, slope", [
    (1.5, 1, -1.2, 0), (.5, -1, .8, 0),                     # past the clip on the helpful side: flat
    (1.5, -1, 1.5, 1.5), (.5, 1, -.5, -.5),                 # on the harmful side: steep, or it could never come back
    (1.1, 2, -2.2, -2.2)])
@pytest.mark.exercise("ppo_loss", 2)
def test_policy_loss_and_its_slope_by_hand(ratio, adv, loss, slope):
    new, old = one_token(ratio, adv)
    total, stats = ppo.ppo_loss(new, old)
    total.backward()
    assert stats["clipfrac"] == (ratio in (.5, 1.5)) and stats["ratio_max"] == (new.logp - old.logp).exp()
    close((stats["policy_loss"].item(), new.logp.grad.item()), (float(loss), float(slope)))


def test_before_any_update_the_ratio_is_one_or_the_run_stops():
    close(ppo.first_ratio(*map(dirty, random_batch(spread=0))), 1.0)
    new, old = random_batch(spread=0)
    for lower, ratio in ((0.1, math.exp(-0.1)), (-0.15, math.exp(0.15)), (0.3, None), (math.nan, None)):
        moved = replace(new, logp=(new.logp - lower * (torch.arange(15).view(3, 5) == 7)).detach())      # one action's
        if ratio:
            close(ppo.first_ratio(moved, old, rounding=0.2), ratio)
        with pytest.raises(optimise.Diverged, match="before any update"):
            ppo.first_ratio(moved, old, rounding=1e-4 if ratio else 0.2)


@pytest.mark.parametrize("value, loss", [(.5, .32), (-.5, 1.125), (.1, .405)])
@pytest.mark.exercise("ppo_loss", 1)
def test_value_loss_by_hand(value, loss):
    total, stats = ppo.ppo_loss(*one_token(value=value, ret=1.0), value_coef=0.3)
    close((stats["value_loss"].item(), total.item()), (loss, 0.3 * loss))
    assert not any(x.requires_grad for x in stats.values())


@pytest.mark.exercise("ppo_loss", 2)
def test_on_policy_the_gradient_is_minus_advantage_over_the_number_of_actions():
    new, old = random_batch(spread=0)
    loss, stats = ppo.ppo_loss(new, replace(old, value=new.value.detach()), value_coef=0.5)
    loss.backward()
    close(new.logp.grad, torch.where(MASK, -old.adv / 7, 0))
    close(new.value.grad, torch.where(MASK, 0.5 * (new.value.detach() - old.ret) / 7, 0))
    assert stats["clipfrac"] == stats["approx_kl"] == 0 and stats["ratio_max"] == 1
    close(stats["entropy"], new.entropy[MASK].mean())


@pytest.mark.exercise("ppo_loss", 2)
def test_nan_on_pads_and_extra_columns_reach_neither_loss_nor_stats_nor_gradient():
    new, old = random_batch()
    plain, junk = ((*ppo.ppo_loss(n, o), n) for n, o in ((new, old), (dirty(new), dirty(old))))
    close(junk[1], plain[1])
    slopes, junk_slopes = (torch.autograd.grad(loss, [n.logp, n.value]) for loss, _, n in (plain, junk))
    close(junk_slopes, tuple(F.pad(slope, (0, 2)) for slope in slopes))


@pytest.mark.exercise("token_rewards", 1)
def test_rewards_of_a_response_sum_to_its_score_minus_the_price_of_its_kl():
    old = dirty(random_batch()[1])
    reward = ppo.token_rewards(old.score, old.logp, old.logp_ref, old.mask, kl_coef=0.3)
    close(reward.sum(1), old.score - 0.3 * ppo.sequence_kl(old))
    assert (reward[~old.mask] == 0).all()


@pytest.mark.exercise("token_rewards", 2)
def test_the_score_lands_on_the_last_action_though_pads_lie_behind_it():
    zero, mask = torch.zeros(4, 5), torch.cat([MASK, MASK[:1] & False])
    reward = ppo.token_rewards(torch.tensor([5., 6., 7., 8.]), zero, zero, mask, kl_coef=0.3)
    assert reward.tolist() == [[0, 0, 5, 0, 0], [0, 0, 0, 6, 0], [0, 0, 7, 0, 0], [0] * 5]


@pytest.mark.exercise("gae", 1)
def test_advantages_by_hand():
    reward, value = torch.tensor([[0., 0., 1.]]), torch.full((1, 3), .5)
    adv, ret = ppo.gae(reward, value, value > 0, gamma=1.0, lam=.5)
    assert adv.tolist() == [[1 / 8, 1 / 4, 1 / 2]] and ret.tolist() == [[5 / 8, 3 / 4, 1]]


@pytest.mark.parametrize("gamma, lam", [(1, 0), (.9, 0), (1, 1), (.9, 1), (.9, .7)])
@pytest.mark.exercise("gae", 2)
def test_an_advantage_is_the_discounted_sum_of_td_errors(gamma, lam):
    reward, value = torch.randn(1, 6), torch.randn(1, 7) * (torch.arange(7) < 6)
    delta = (reward + gamma * value[:, 1:] - value[:, :6])[0]
    expected = torch.stack([sum((gamma * lam) ** k * delta[t + k] for k in range(6 - t)) for t in range(6)])
    adv, ret = ppo.gae(reward, value[:, :6], reward < 9, gamma=gamma, lam=lam)
    close((adv[0], ret[0]), (expected, expected + value[0, :6]))
    if gamma == lam == 1:
        close(ret, reward.flip(1).cumsum(1).flip(1))                                     # the reward to go


@pytest.mark.exercise("gae", 1)
def test_garbage_off_the_mask_and_extra_columns_change_no_advantage():
    old = random_batch()[1]
    wide, plain = (ppo.gae(x.ret, x.value, x.mask) for x in (dirty(old), old))
    close([x[:, :5] for x in wide], list(plain))
    assert all((x[~dirty(old).mask] == 0).all() for x in wide)


@pytest.mark.exercise("token_rewards", 1)
@pytest.mark.exercise("ppo_loss", 1)
def test_over_all_responses_the_mean_of_each_estimate_is_the_exact_kl():
    """Two tokens drawn from P, every pair as often as P says; Q is the reference, and the new policy of the loss."""
    p, q = [.5, .2, .15, .1, .05], [.1, .3, .3, .2, .1]
    ids = torch.cartesian_prod(*[torch.arange(5).repeat_interleave(torch.tensor([10, 4, 3, 2, 1]))] * 2)     # 20 P
    kl = sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))                     # 0.516, a token
    p, q, zero, score = torch.tensor(p).log()[ids], torch.tensor(q).log()[ids], ids * 0., torch.randn(400)
    old = ppo.Old(ids, ids >= 0, p, q, zero, score, score, zero, zero)
    close(ppo.sequence_kl(old).mean().item(), 2 * kl, atol=1e-5, rtol=0)
    close(ppo.ppo_loss(ppo.New(q, zero, zero), old)[1]["approx_kl"].item(), kl, atol=1e-5, rtol=0)
    reward = ppo.token_rewards(score, p, q, old.mask, kl_coef=0.3)
    close(reward.sum(1).mean(), score.mean() - 0.3 * 2 * kl)


@pytest.mark.parametrize("score", [-50., -3., -1., 0., 2.])
def test_not_ending_is_never_better_than_ending_nor_than_the_worst(score):
    ended, cut = ppo.penalise_unended(torch.tensor([score, score]), torch.tensor([True, False]), -2.0, 0.5)
    assert ended == score and cut == min(score, -2.0) - 0.5


def test_the_kl_coefficient_rises_and_falls_with_the_kl_within_bounds_and_rests_on_target():
    old = random_batch()[1]
    kl = ppo.sequence_kl(old).mean().item()
    coefs = [ppo.adapt_kl_coef(0.1, old, target=kl / over, horizon=10) for over in (.1, .9, 1, 1.1, 9)]
    close(coefs, [0.1 * x for x in (.98, .99, 1, 1.01, 1.02)])
    assert ppo.adapt_kl_coef(0.1, old, target=0, horizon=10) == 0.1


def test_explained_variance_is_one_for_a_perfect_critic_and_zero_for_a_constant_one():
    old = random_batch()[1]
    values = (old.ret, old.ret / 2, torch.full_like(old.ret, 4.0))
    explained = [ppo.summary(dirty(replace(old, value=value)))["explained_variance"] for value in values]
    close(explained, [1., 0.75, 0.], atol=1e-5, rtol=0)


def test_a_minibatch_is_the_same_rows_of_every_field():
    old, index = random_batch()[1], torch.tensor([2, 0])
    assert all(torch.equal(getattr(old.rows(index), f.name), getattr(old, f.name)[index]) for f in fields(old))
