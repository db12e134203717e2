"""Plausible wrong versions: (what it replaces, name, function, why it is wrong); some law must kill each of them.
A number is the detail's in the design notes on PPO, a name with # the issue or pull request where it happened."""
from contextlib import nullcontext
from types import SimpleNamespace as Box

import torch
import torch.nn.functional as F

from minicai import finetune, model, optimise, ppo, preference, rollout, sample, tensors, tokens
from minicai.tensors import masked_mean

# The right ones, of which most wrong ones are made.
target_logp, action_mask, whiten, pad = tensors.target_logp, tensors.action_mask, tensors.whiten, tokens.pad
gae, token_rewards, bradley_terry = ppo.gae, ppo.token_rewards, preference.bradley_terry_loss
choose, look, select, write = sample.choose, rollout.look, model.Cache.select, model.Cache.write
render, encode, sdpa = tokens.Tokenizer.render, tokens.Tokenizer.encode, F.scaled_dot_product_attention
update, cross_entropy = optimise.update, finetune.sequence_loss


def loss(policy=lambda r, a: torch.min(r * a, r.clamp(.8, 1.2) * a), worse=torch.max, mean=masked_mean, k3=1):
    """ppo_loss, with one of its parts replaced."""
    def wrong(new, old, *, clip=.2, value_clip=.2, value_coef=.1):
        d, v = (torch.where(old.mask, x, 0.) for x in (new.logp - old.logp, new.value))
        errors = [(x - old.ret) ** 2 for x in (v, old.value + (v - old.value).clamp(-value_clip, value_clip))]
        stats = {"policy_loss": -policy(d.exp(), old.adv), "value_loss": .5 * worse(*errors), "entropy": new.entropy,
                 "approx_kl": (k3 * d).exp() - 1 - k3 * d, "clipfrac": ((d.exp() - 1).abs() > clip).float()}
        stats = {name: mean(x, old.mask) for name, x in stats.items()} | {"ratio_max": d.exp().max()}
        stats["loss"] = stats["policy_loss"] + value_coef * stats["value_loss"]
        return stats["loss"], {name: x.detach() for name, x in stats.items()}
    return wrong


LOGP, MASK, MEAN, WHITE = "tensors.target_logp", "tensors.action_mask", "tensors.masked_mean", "tensors.whiten"
REWARDS, GAE, LOSS, CUT = "ppo.token_rewards", "ppo.gae", "ppo.ppo_loss", "ppo.penalise_unended"
BT, CHOOSE, LOOK = "preference.bradley_terry_loss", "sample.choose", "rollout.look"
ROPE, NORM, SDPA = "model.rotate", "model.RMSNorm.forward", "model.F.scaled_dot_product_attention"
WRONG = [
    ("tensors.shift", "comes around", lambda x: x.roll(-1, 1), "the first token is the last one's target"),
    ("ppo.first_ratio", "the largest", lambda new, old: (new.logp - old.logp)[old.mask].max().exp().item(),
     "2: a policy that has lost what it sampled passes, and so does NaN"),
    (LOGP, "no temperature", lambda z, x, T=1.: target_logp(z, x), "4: T in the sampler only (trl PR#3029)"),
    (LOGP, "bf16", lambda z, x, T=1.: target_logp(z, x, T).to(z.dtype), "7: log-probs drift (OpenRLHF PR#718)"),
    ("rollout.shift", "not at all", lambda ids: ids, "1: of the token just read (PaLM-rlhf#31)"),
    ("finetune.shift", "not at all", lambda x: x, "1: learns to say again what it has just read"),
    (MASK, "no end", lambda ids, p, n: action_mask(ids, p, n - 1), "8: never learns to stop (rasbt#185)"),
    (MASK, "pads", lambda ids, p, n: action_mask(ids, p, n * 0 + 99), "8: learns from pads (verl#3805)"),
    (MEAN, "product", lambda x, m, dim=None: (x * m).sum(dim) / m.sum(dim).clamp(min=1), "11: NaN * 0 is NaN"),
    (MEAN, "pads", lambda x, m, dim=None: torch.where(m, x, 0.).mean(dim), "27: minChatGPT, minRLHF"),
    (WHITE, "pads", lambda x, m: torch.where(m, whiten(x.nan_to_num(), m | True), 0.), "23: trlx"),
    (WHITE, "rows", lambda x, m: torch.cat([*map(whiten, x.split(1), m.split(1))]), "23: all alike (minRLHF)"),
    (WHITE, "n - 1", lambda x, m: whiten(x, m) * (1 - 1 / m.sum()) ** .5, "23: NaN for a single one (ROLL#475)"),
    (REWARDS, "last column", lambda s, p, q, m, **k: token_rewards(0 * s, p, q, m, **k)
     + F.pad(s[:, None], (m.shape[1] - 1, 0)), "12: that of a pad (trl#3750, #1893)"),
    (REWARDS, "all", lambda s, p, q, m, **k: token_rewards(0 * s, p, q, m, **k) + m * s[:, None], "12: apassuello"),
    (REWARDS, "abs", lambda s, p, q, m, **k: token_rewards(s, (p - q).abs(), 0 * q, m, **k), "14: no KL (NeMo)"),
    (REWARDS, "sign", lambda s, p, q, m, **k: token_rewards(s, q, p, m, **k), "17: pays to leave (verl a65c9157)"),
    ("ppo.sequence_kl", "mean", lambda o: masked_mean(o.logp - o.logp_ref, o.mask, 1), "14: a token's (trlx#438)"),
    (GAE, "pads", lambda r, v, m, **k: tuple(x * m for x in gae(r, v, m | True, **k)), "19: verl PR#2337"),
    (GAE, "no lambda", lambda r, v, m, gamma=1., lam=.95: gae(r, v, m, gamma=gamma, lam=1.), "19: all the noise"),
    (GAE, "no gamma", lambda r, v, m, gamma=1., lam=.95: gae(r, v, m, gamma=1., lam=gamma * lam), "19: in the error"),
    (LOSS, "max", loss(lambda r, a: torch.max(r * a, r.clamp(.8, 1.2) * a)), "27: flat where it should be steep"),
    (LOSS, "only clipped", loss(lambda r, a: r.clamp(.8, 1.2) * a), "27: who strayed too far never comes back"),
    (LOSS, "value min", loss(worse=torch.min), "28: the better of the two errors"),
    (LOSS, "pads", loss(mean=lambda x, m: torch.where(m, x, 0.).mean()), "27: minChatGPT, minRLHF"),
    (LOSS, "mean of means", loss(mean=lambda x, m: masked_mean(x, m, 1).mean()), "29: short answers weigh more"),
    (LOSS, "product", loss(mean=lambda x, m: (x * m).sum() / m.sum()), "11: NaN * 0 is NaN"),
    (LOSS, "k3 sign", loss(k3=-1), "15: its mean is chi2 - KL (rlhf-book, minChatGPT)"),
    (CUT, "fixed", lambda score, ended, worst, penalty: torch.where(ended, score, -1.), "22: can be a gain"),
    (BT, "hard labels", lambda a, b, p, **k: bradley_terry(a, b, (p > .5).float(), **k), "doubt is thrown away"),
    (BT, "sides", lambda a, b, p, **k: bradley_terry(b, a, p, **k), "rewards the worse answer"),
    (BT, "one score", lambda a, b, p, **k: bradley_terry(a, b * 0, p, **k), "blind to the second answer"),
    (BT, "saturates", lambda a, b, p, **k: (F.binary_cross_entropy((a - b).sigmoid(), p), bradley_terry(a, b, p)[1]),
     "the sigmoid rounds to 1: the worst mistakes have no gradient"),
    (BT, "no weights", lambda a, b, p, weight=None: bradley_terry(a, b, p), "every comparison counts alike"),
    ("preference.read_scores", "last column", lambda judge, t, pairs: judge.read(judge.model(
        pad([t.render([("user", p), ("assistant", r)]) for p, r in pairs], t.pad)))[:, -1], "13: at a pad"),
    ("preference.normalise", "anew", lambda m, s: (m.mean.fill_(s.mean()), m.std.fill_(s.std())), "25: of raw scores"),
    (CHOOSE, "T to draw", lambda z, u, T, p=1.: (choose(z, u, T, p)[0], choose(z, u, T and 1., p)[1]), "4: no-magic"),
    (CHOOSE, "full softmax", lambda z, u, T, p=1.: (t := choose(z, u, T, p)[0], target_logp(z, t, T or 1.)),
     "5: the kept set is not renormalised (vllm#42259)"),
    (CHOOSE, "elsewhere", lambda z, u, T, p=1.: choose(z, torch.rand(len(z)), T or 1., p), "another seed each time"),
    (LOOK, "no temperature", lambda p, c, ids, m, T: look(p, c, ids, m, 1.), "4: sampler and update disagree"),
    (LOOK, "value after", lambda *x: ppo.New((n := look(*x)).logp, n.entropy, tensors.shift(n.value)), "20: biased"),
    (ROPE, "pairs", lambda x, c, s: x * c + torch.stack([-x[..., 1::2], x[..., ::2]], -1).flatten(-2) * s, "GPT-J's"),
    (NORM, "eps", lambda self, x: self.weight * x / (x.square().mean(-1, True).sqrt() + self.eps), "outside the root"),
    (SDPA, "no mask", lambda q, k, v, attn_mask=None, **how: sdpa(q, k, v, **how), "10: decoding sees pads"),
    (SDPA, "future", lambda q, k, v, is_causal=False, **how: sdpa(q, k, v, **how), "36: training sees the answer"),
    ("model.Cache.write", "one position", lambda self, layer, k, v: write(
        Box(layers=self.layers, position=self.position.amax().expand(len(k))), layer, k, v), "10: trl#2778"),
    ("model.Cache.select", "wrong rows", lambda self, rows: select(self, rows.flip(0)), "replies are swapped"),
    ("model.ScalarModel.read", "raw", lambda self, h: self.score(h)[..., 0], "25: beta means nothing"),
    ("tokens.Tokenizer.render", "no end", lambda t, turns: [i for i in render(t, turns) if i != t.end], "8: no stop"),
    ("tokens.Tokenizer.encode", "markers", lambda t, text: encode(t, text) + [t.end] * ("<end>" in text), "injection"),
    ("tokens.pad", "left", lambda rows, x, multiple=16: pad([r[::-1] for r in rows], x, multiple).flip(1), "10"),
    ("optimise.update", "late", lambda x, o, **k: (
        x.backward(retain_graph=True), [step.step() for step in o], update(x, o, **k)),
     "the weights are lost before the NaN is seen"),
    ("optimise.update", "no clip", lambda x, o, max_norm=1., **k: update(x, o, max_norm=1e9, **k), "30: can ruin all"),
    ("finetune.response_example", "all", lambda t, turns: ((i := t.render(turns)), [1.] * len(i)), "the prompt too"),
    ("finetune.sequence_loss", "row means", lambda m, ids, w: sum(
        map(cross_entropy, [m] * len(w), ids.split(1), w.split(1))) / len(w), "29: short parts weigh more"),
    ("checkpoint.whole_folder", "in place", lambda final: nullcontext((final.mkdir(parents=True), final)[1]), "halves"),
]
