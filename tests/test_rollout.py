"""Laws of the rollout: what is written down is what the policy itself says again of the very ids it sampled."""
from dataclasses import replace

import pytest
import torch

import minicai.rollout as rollout
from minicai.model import ScalarModel
from minicai.ppo import ppo_loss, sequence_kl
from minicai.tensors import entropy, token_logp

close = torch.testing.assert_close
PROMPTS = ["the cat", "a banana on the mat", "b"]


@pytest.fixture
def roll(speaker, tokenizer):
    """-> roll(temperature=..., reference=...): the policy's model, its critic and its rollout."""
    def make(temperature=1.0, reference=speaker):
        critic, generator = ScalarModel(speaker.model), torch.Generator().manual_seed(1)
        return speaker, critic, rollout.rollout(speaker, reference, critic, tokenizer, PROMPTS, samples=4, max_new=30,
                                                temperature=temperature, generator=generator)
    return make


def test_the_mask_covers_the_response_with_its_end_and_nothing_else(roll, tokenizer):
    old, out = roll()[2].old, roll()[2]
    assert {True, False} == set(out.ended.tolist())
    for i, text in enumerate(out.texts):
        prompt, chosen = tokenizer.prompt([("user", PROMPTS[i // 4])]), old.ids[i, 1:][old.mask[i, :-1]].tolist()
        assert old.ids[i].tolist()[:len(prompt) + len(chosen)] == prompt + chosen and not old.mask[i, -1]
        assert tokenizer.decode(chosen) == text and not tokenizer.stops.intersection(chosen[:-1])
        assert (chosen[-1] == tokenizer.end) == out.ended[i] and (chosen[-1] in tokenizer.stops or len(chosen) == 30)
    assert old.group.tolist() == [0] * 4 + [1] * 4 + [2] * 4 and out.stats["length"] == old.mask.sum(1).float().mean()


@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_what_is_written_down_is_the_policy_at_its_temperature(roll, temperature):
    policy, critic, out = roll(temperature)
    logits = policy(out.old.ids)
    close(out.old.logp, token_logp(logits, out.old.ids, temperature) * out.old.mask, atol=1e-5, rtol=1e-5)
    assert out.stats["lp_gap_max"] < 1e-5                                         # the sampler's log-probs against these
    new = rollout.look(policy, critic, out.old.ids, out.old.mask, temperature)
    close(new.entropy, entropy(logits, temperature) * out.old.mask, atol=1e-5, rtol=1e-5)
    assert new.logp.requires_grad and not new.entropy.requires_grad and not out.old.logp.requires_grad


def test_at_first_the_kl_and_the_values_are_zero_and_every_ratio_is_one(roll, tiny, tokenizer):
    policy, critic, out = roll(temperature=0.5)
    assert (sequence_kl(out.old) == 0).all() and (out.old.value == 0).all()
    other = roll(reference=tiny(vocab_size=tokenizer.vocab_size))[2].old
    assert (sequence_kl(other) != 0).all() and (other.logp_ref[~other.mask] == 0).all()
    old = replace(out.old, adv=torch.randn(out.old.logp.shape), ret=out.old.value)
    for rows in ([7, 2], [0, 3, 11]):                                                 # in whatever minibatch
        part = old.rows(torch.tensor(rows))
        new = rollout.look(policy, critic, part.ids, part.mask, 0.5)
        close((new.logp - part.logp).exp(), torch.ones(part.mask.shape), atol=1e-5, rtol=0)
        assert ppo_loss(new, part)[1]["clipfrac"] == 0


def test_the_value_of_an_action_is_said_before_the_action_is_seen(roll):
    policy, critic, out = roll()
    torch.nn.init.normal_(critic.score.weight)
    ids, mask = out.old.ids, out.old.mask
    row, t = mask.nonzero()[len(mask)].tolist()
    changed = ids.clone()
    changed[row, t + 1] += 1
    before, after = (rollout.look(policy, critic, x, mask, 1.0).value for x in (ids, changed))
    assert (before[mask] != 0).all() and (before[~mask] == 0).all()
    close(before[:, :t + 1], after[:, :t + 1], atol=1e-6, rtol=0)
    assert (before[row, t + 1:] != after[row, t + 1:])[mask[row, t + 1:]].all() and mask[row, t + 1:].any()
