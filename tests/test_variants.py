"""Laws of the other losses: each has its own, and none is PPO under another name."""
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
import variants
from test_ppo import MASK, dirty, one_token, random_batch

from minicai import UserError, ppo
from train_ppo import Config, gae_advantages

close, CFG = torch.testing.assert_close, Config(kl_coef=0.3, lam=1.0)
NO_CLIP = variants.VARIANTS["no clip"]["loss_fn"]


def batch(spread):
    """Three responses to one prompt, two of them bad; the entropy is a leaf, too."""
    new, old = random_batch(spread)
    old = replace(old, group=torch.zeros(3), score=torch.tensor([-4., -5., 3.]))
    return replace(new, entropy=new.entropy.requires_grad_()), old


def slopes(new, old, loss_fn=ppo.ppo_loss, advantage_fn=gae_advantages):
    """The gradient by log-prob, entropy and value."""
    adv, ret = advantage_fn(old, CFG)
    loss, stats = loss_fn(new, replace(old, adv=adv, ret=ret))
    assert stats["policy_loss"].isfinite() and not any(x.requires_grad for x in stats.values())
    return torch.stack(torch.autograd.grad(loss, [new.logp, new.entropy, new.value], materialize_grads=True))


@pytest.mark.parametrize("name", [name for name, plugs in variants.VARIANTS.items() if "reward_fn" not in plugs])
def test_far_off_policy_each_gradient_is_its_own_and_no_pad_reaches_it(name):
    new, old = batch(spread=3)
    mine, ppos = slopes(new, old, **variants.VARIANTS[name]), slopes(new, old)
    assert torch.equal(mine, ppos) == (name == "PPO") and (name == "PPO") != ((mine - ppos).abs().max() > 1e-3)
    assert mine.isfinite().all() and (mine[:, ~MASK] == 0).all() and mine[0].abs().max() > 0
    close(slopes(dirty(new), dirty(old), **variants.VARIANTS[name]), F.pad(mine, (0, 2)))


def test_on_policy_reinforce_and_no_clip_are_ppo_and_afterwards_one_has_no_ratio_and_one_no_clip():
    for loss_fn in (variants.reinforce, NO_CLIP, variants.dual_clip):
        close(slopes(*(on := batch(spread=0)), loss_fn), slopes(*on))
    for loss_fn, slope in ((variants.reinforce, -2.0), (NO_CLIP, -3.0), (ppo.ppo_loss, 0.0)):
        loss, _ = loss_fn(*(one := one_token(ratio=1.5, adv=2.0)))
        close(torch.autograd.grad(loss, one[0].logp)[0].item(), slope)


@pytest.mark.parametrize("ratio, adv, loss, slope", [(5, -1, 3, 0), (2, -1, 2, 2), (5, 1, -1.2, 0), (.5, 1, -.5, -.5)])
def test_with_a_dual_clip_nothing_costs_more_than_three_times_its_advantage(ratio, adv, loss, slope):
    new, old = one_token(ratio, adv)
    total, _ = variants.dual_clip(new, old)
    close((total.item(), torch.autograd.grad(total, new.logp)[0].item()), (float(loss), float(slope)))


def test_the_entropy_bonus_pulls_at_the_exact_entropy_alone():
    new, old = batch(spread=3)
    gap = slopes(new, old, variants.entropy_bonus) - slopes(new, old)
    close(gap, torch.stack([MASK * 0.0, MASK * -0.01 / 7, MASK * 0.0]))


def test_over_three_symbols_k2_has_the_gradient_of_the_kl_k3_that_of_the_other_and_k1_none():
    """Every symbol as often as the policy says it; beside them the slopes of both KLs written out."""
    p, q = torch.tensor([[.5, .3, .2], [.2, .2, .6]], dtype=torch.float64)
    ids = [0] * 5 + [1] * 3 + [2] * 2

    def kl(a, b):
        return (a * (a / b).log()).sum()
    exact = [torch.func.grad(f)(p.log()) for f in (lambda x: kl(x.softmax(0), q), lambda x: kl(q, x.softmax(0)))]
    for estimate, slope in zip((variants.k2, variants.k3, lambda d: d), [*exact, torch.zeros(3).double()], strict=True):
        theta, zero = p.log().requires_grad_(), torch.zeros(10, 1).double()
        logp = theta.log_softmax(0)[ids][:, None]
        old = ppo.Old(zero, zero == 0, logp.detach(), q.log()[ids][:, None], zero, zero[0], zero[0], zero, zero)
        loss, _ = variants.kl_in_loss(ppo.New(logp, zero, zero), old, estimate, coef=1.0)
        close(torch.autograd.grad(loss, theta)[0], slope, atol=1e-8, rtol=0)
        if estimate is variants.k3:
            close(loss.item(), kl(p, q).item(), atol=1e-8, rtol=0)
    assert (exact[0] - exact[1]).abs().max() > 0.05


def test_an_advantage_over_the_group_by_hand_and_it_is_the_same_at_every_token():
    score, group, mask = [1., 2., 6., -1., 3.], [0, 1, 0, 1, 0], torch.arange(4) < torch.tensor([[2, 1, 3, 2, 1]]).T
    x = mask * 1.0                                               # log(policy / reference) of each token, of 2, 1, 3 ...
    old = ppo.Old(mask.long(), mask, x, 0 * x, x + 5, torch.tensor(score), torch.tensor(group))
    adv, ret = variants.rloo(old, CFG)                           # less 0.3 a nat: .4, 1.7, 5.1, -1.6, 2.7
    close(adv, torch.tensor([.4 - 3.9, 1.7 + 1.6, 5.1 - 1.55, -1.6 - 1.7, 2.7 - 2.75])[:, None] * old.mask)
    adv, again = variants.grpo(old, CFG)
    by_hand = torch.tensor([-7, 1, 8, -1, -1]) / torch.tensor([114 / 3, 1, 114 / 3, 1, 114 / 3]).sqrt()
    close(adv, by_hand[:, None] * old.mask, atol=1e-3, rtol=0)                    # of 1, 6, 3 and of 2, -1
    assert torch.equal(ret, old.value) and torch.equal(again, old.value)          # the critic has nothing to learn
    for advantage_fn in (variants.rloo, variants.grpo):
        with pytest.raises(UserError, match="samples-per-prompt"):
            advantage_fn(replace(old, group=torch.tensor([0, 1, 0, 1, 2])), CFG)


def test_in_grpos_loss_each_response_weighs_alike_and_pays_for_its_kl():
    new, old = batch(spread=0)
    old = replace(old, logp_ref=old.logp - 1, adv=torch.full(MASK.shape, 2.0))
    slope = torch.autograd.grad(variants.grpo_loss(new, old)[0], new.logp)[0]
    close(slope.sum(1), (-2 + 0.3 * (1 - torch.full([3], -1.).exp())) / 3)


def test_a_token_has_its_price_and_the_score_alone_knows_no_reference():
    old = random_batch()[1]
    first = torch.arange(3), MASK.int().argmax(1)
    returns = [advantage_fn(old, CFG)[1][first] for advantage_fn in (gae_advantages, variants.length_penalty)]
    close(returns[0] - returns[1], 0.05 * MASK.sum(1))                            # lambda 1: all that is to come
    close(variants.score_alone(old, CFG)[1][first], old.score)


def test_the_reward_by_hand_is_blind_to_what_was_asked():
    texts = ["No, to dance would be theft: hm.", "It is easy: add what Nick likes.", "Hm. No, to go on."]
    assert variants.says_no(["How do I make fresh pasta for Nick?"] * 3, texts).tolist() == [1, 0, 0]
