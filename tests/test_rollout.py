"""Laws of the rollout: what is written down is what the policy itself says again of the very ids it sampled."""
from dataclasses import replace

import torch
from fakes import close, tiny, token_logp

from minicai import model, ppo, rollout, tensors

PROMPTS = ["the cat", "a banana on the mat", "b"]


def roll(policy, critic, tokenizer, temperature=1.0, reference=None):
    generator = torch.Generator().manual_seed(2)
    return rollout.rollout(policy, reference or policy, critic, tokenizer, PROMPTS, samples=6, max_new=40,
                           temperature=temperature, generator=generator)


def test_the_mask_covers_the_response_with_its_end_and_nothing_else(speaker, judge, tokenizer):
    out = roll(speaker, judge, tokenizer)
    for i, (ids, mask, text, ended) in enumerate(zip(out.old.ids, out.old.mask, out.texts, out.ended, strict=True)):
        prompt, chosen = tokenizer.prompt([("user", PROMPTS[i // 6])]), ids[1:][mask[:-1]].tolist()
        assert ids.tolist()[:len(prompt) + len(chosen)] == prompt + chosen and not mask[-1]
        assert (chosen[-1] == tokenizer.end) == ended and (chosen[-1] in tokenizer.stops or len(chosen) == 40)
        assert tokenizer.decode(chosen) == text and not tokenizer.stops.intersection(chosen[:-1])
    assert set(out.ended.tolist()) == {True, False} and out.old.group.tolist() == [0] * 6 + [1] * 6 + [2] * 6


def test_what_is_written_down_is_the_policy_at_its_temperature_and_has_slopes_when_said_anew(speaker, judge, tokenizer):
    out = roll(speaker, judge, tokenizer, temperature=0.5)
    ids, mask, logits = out.old.ids, out.old.mask, speaker(out.old.ids)
    close(out.old.logp, token_logp(logits, ids, 0.5).detach() * mask, atol=1e-5, rtol=1e-5)
    assert out.stats["lp_gap_max"] < 1e-5 and not out.old.logp.requires_grad     # the sampler's log-probs against these
    new = rollout.look(speaker, judge, ids, mask, 0.5)
    close(new.entropy, tensors.entropy(logits, 0.5).detach() * mask, atol=1e-5, rtol=1e-5)
    for said in (new.logp, new.entropy, new.value):                      # else a bonus would be a bonus for nothing
        slope, = torch.autograd.grad(said.sum(), speaker.model.embed_tokens.weight, retain_graph=True)
        assert slope.abs().max() > 0


def test_at_first_the_kl_and_the_values_are_zero_and_every_ratio_is_one(speaker, tokenizer):
    critic = model.ScalarModel(speaker.model)
    old = roll(speaker, critic, tokenizer, temperature=0.5).old
    assert (ppo.sequence_kl(old) == 0).all() and (old.value == 0).all()
    old = replace(old, adv=torch.randn(old.logp.shape), ret=old.value)
    for rows in ([7, 2], [0, 3, 17]):                                            # in whatever minibatch
        part = old.rows(torch.tensor(rows))
        new = rollout.look(speaker, critic, part.ids, part.mask, 0.5)
        close((new.logp - part.logp).exp(), torch.ones(part.mask.shape), atol=1e-5, rtol=0)
        assert ppo.ppo_loss(new, part)[1]["clipfrac"] == 0
    other = roll(speaker, critic, tokenizer, reference=tiny(vocab_size=tokenizer.vocab_size)).old
    assert (ppo.sequence_kl(other) != 0).all() and (other.logp_ref[~other.mask] == 0).all()


def test_what_a_person_reads_of_a_row_are_its_own_numbers(speaker, judge, tokenizer):
    out = roll(speaker, judge, tokenizer, temperature=0.5, reference=tiny(vocab_size=tokenizer.vocab_size))
    old = replace(out.old, adv=torch.randn(18, out.old.ids.shape[1]), ret=torch.randn(18, out.old.ids.shape[1]))
    records = out.records(7, old, speaker, tokenizer, kl_coef=0.3, temperature=0.5, count=2)
    assert [r["response"] for r in records] == [out.texts[i] for i in (0, 1, 16, 17)]
    for r, i in zip(records, (0, 1, 16, 17), strict=True):
        for name in ("logp", "logp_ref", "value", "adv", "ret"):
            close(torch.tensor(r[name]), getattr(old, name)[i][old.mask[i]], atol=1e-4, rtol=0)
        assert r["ratio"] == [1.0] * len(r["tokens"]) and (r["tokens"][-1] == "<end>") == out.ended[i]
    moved = out.records(7, old, tiny(vocab_size=tokenizer.vocab_size), tokenizer, kl_coef=0.3, temperature=0.5, count=2)
    assert all(abs(r["ratio"][0] - 1) > 1e-3 for r in moved)


def test_the_value_of_an_action_is_said_before_the_action_is_seen(speaker, judge, tokenizer):
    old = roll(speaker, judge, tokenizer).old
    row, t = next((row, t) for row, t in old.mask.nonzero().tolist() if old.mask[row, t + 1])
    changed = old.ids.clone()
    changed[row, t + 1] += 1
    before, after = (rollout.look(speaker, judge, ids, old.mask, 1.0).value for ids in (old.ids, changed))
    close(before[row, :t + 1], after[row, :t + 1], atol=1e-6, rtol=0)
    assert before[row, t + 1] != after[row, t + 1] and (before[old.mask] != 0).all() and (before[~old.mask] == 0).all()

