"""Stage 2b, RL-CAI: PPO against the reward model, with a KL penalty to SL (Bai et al. 2022, section 4.2).

    python train_ppo.py --run runs/default       # about a minute on two cores; harm falls from 10 to 5 %

Four steps an iteration: rollout -> reward -> advantage -> loss. Each is a function you can replace:
`main(Config(...), loss_fn=..., advantage_fn=..., reward_fn=...)`."""
import random
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import torch
from tqdm import trange

from minicai import assistant, checkpoint, finetune, optimise, ppo, preference, rollout, tensors
from minicai.model import LanguageModel, ScalarModel, compute_dtype
from minicai.run import Common, base, device_of, fit_memory, flag, script, seeded, stage


@dataclass(frozen=True, slots=True)
class Config(Common):
    iterations: int = flag(24, "rollouts, each followed by its updates", least=1)
    prompts: int = flag(128, "prompts an iteration", least=1)
    samples_per_prompt: int = flag(1, "responses to each prompt (more than one for group baselines)", least=1)
    red_team: float = flag(0.5, "share of prompts that are red-team; the rest are harmless", least=0, most=1)
    max_new: int = flag(64, "longest response in tokens", least=1)
    temperature: float = flag(1.0, "of the policy itself: in sampling and in every log-prob", least=1e-3)
    lr: float = flag(3e-4, "learning rate of the policy, falling linearly to 0", least=0)
    value_lr: float = flag(1e-2, "learning rate of the value head", least=0)
    kl_coef: float = flag(0.3, "price of a nat of KL from SL, in standard deviations of the score", least=0)
    kl_target: float = flag(0.0, "nats a response to steer kl_coef towards (0: leave it)", least=0)
    gamma: float = flag(1.0, "discount", least=0)
    lam: float = flag(0.95, "lambda of the advantage estimate", least=0)
    epochs: int = flag(2, "passes over each rollout", least=1)
    minibatch: int = flag(64, "responses an update", least=1)
    no_end_penalty: float = flag(1.0, "a response without an end scores this much below the worst at first", least=0)
    probes: int = flag(32, "validation requests of each sort, measured each iteration", least=8)


def gae_advantages(old: ppo.Old, cfg: Config) -> tuple[torch.Tensor, torch.Tensor]:
    """The default advantage_fn: KL penalty and score per token, then GAE -> (adv, ret), each (B, T)."""
    reward = ppo.token_rewards(old.score, old.logp, old.logp_ref, old.mask, kl_coef=cfg.kl_coef)
    return ppo.gae(reward, old.value, old.mask, gamma=cfg.gamma, lam=cfg.lam)


def main(cfg: Config, loss_fn: Callable = ppo.ppo_loss, advantage_fn: Callable = gae_advantages,
         reward_fn: Callable | None = None) -> None:
    """reward_fn(prompts, responses) -> (B,) scores of strings; None: the run's reward model."""
    device, run, source = device_of(cfg.device), Path(cfg.run), base.source_of(Path(cfg.run))
    policy, tokenizer = checkpoint.load_model(run / "sl", device=device)
    reference = checkpoint.load_model(run / "sl", device=device)[0].requires_grad_(False)
    critic = ScalarModel(policy.model).to(device)                       # on the policy's own trunk; says 0 at the start
    reward_fn = reward_fn or partial(preference.text_scores, *checkpoint.load_model(run / "rm", ScalarModel, device))
    with stage(cfg, "ppo") as log:
        fit_memory(log, [policy, critic], [reference] * 2, cfg.micro_batch)           # the reward model is as large
        rng, generator = seeded(cfg.seed, "ppo", device)
        optimiser = optimise.adamw([{"params": list(policy.parameters())},
                                    {"params": list(critic.score.parameters()), "lr": cfg.value_lr}], cfg.lr, eps=1e-5)
        speaker = assistant.Assistant(policy, tokenizer, generator)
        frozen = [torch.hash_tensor(w).item() for w in reference.parameters()]
        live = {"kl_coef": cfg.kl_coef}                                 # what one iteration hands on to the next
        changed = dict(policy=policy, critic=critic, optimiser=optimiser, rng=rng, generator=generator, live=live)
        for iteration in log.keep.steps(trange(cfg.iterations, desc="ppo", leave=False, disable=None), **changed):
            cfg = replace(cfg, kl_coef=live["kl_coef"])
            # 1. Rollout: responses, and what policy, reference and critic say of each token.
            prompts = source.mixed(cfg.prompts, cfg.red_team, rng)
            out = rollout.rollout(policy, reference, critic, tokenizer, prompts, samples=cfg.samples_per_prompt,
                                  max_new=cfg.max_new, temperature=cfg.temperature, generator=generator)
            # 2. Reward: one number for a whole response; not to end is never better than to end.
            score = reward_fn(out.prompts, out.texts).to(device)
            worst = live.setdefault("worst", score.min().item())        # of the reference: the policy still is it
            old = replace(out.old, score=ppo.penalise_unended(score, out.ended, worst, cfg.no_end_penalty))
            # 3. Advantage: whitened over the whole batch, after the returns are taken.
            adv, ret = advantage_fn(old, cfg)
            log.keep.batch = old = replace(old, adv=tensors.whiten(adv, old.mask), ret=ret)
            # 4. Loss: a few passes over shuffled minibatches.
            learned = learn(policy, critic, optimiser, old, loss_fn, cfg, 1 - iteration / cfg.iterations, rng)
            log.metrics(show=True, iteration=iteration, **ppo.summary(old),
                        **source.rates(speaker, cfg.probes, cfg.seed), **learned, **out.stats, kl_coef=cfg.kl_coef)
            checkpoint.append_jsonl(log.folder / "rollouts.jsonl", out.records(
                iteration, old, policy, tokenizer, kl_coef=cfg.kl_coef, temperature=cfg.temperature))
            live["kl_coef"] = ppo.adapt_kl_coef(cfg.kl_coef, old, target=cfg.kl_target, horizon=cfg.iterations / 10)
        assert frozen == [torch.hash_tensor(w).item() for w in reference.parameters()], "the reference has changed"
        checkpoint.save_model(log.folder, policy, tokenizer, asdict(cfg) | {"kl_coef": live["kl_coef"]})
        source.report(log, "rl", speaker, 2 * cfg.probes, cfg.seed)


def learn(policy: LanguageModel, critic: ScalarModel, optimiser: torch.optim.Optimizer, old: ppo.Old,
          loss_fn: Callable, cfg: Config, scale: float, rng: random.Random) -> dict[str, float]:
    """`epochs` passes over the rollout in shuffled minibatches of whole responses; the stats are means over all."""
    seen, first, exact = [], None, compute_dtype(policy.config, old.ids.device) == torch.float32
    for _, rows in finetune.batches(range(len(old.ids)), cfg.minibatch, cfg.epochs, rng):
        part = old.rows(torch.tensor(rows, device=old.ids.device))
        new = rollout.look(policy, critic, part.ids, part.mask, cfg.temperature)
        first = first or ppo.first_ratio(new, part, rounding=1e-4 if exact else 0.2)
        loss, stats = loss_fn(new, part)
        seen.append(stats | {"grad_norm": optimise.update(loss, [optimiser], scale=scale)})
    return {name: sum(float(s[name]) for s in seen) / len(seen) for name in seen[0]} | {"first_ratio": first}


if __name__ == "__main__":
    script(main, Config, __doc__)
