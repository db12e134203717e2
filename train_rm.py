"""Stage 2a: the base judges pairs of SL answers by the constitution; a reward model learns from its judgements.

    python train_rm.py --run runs/default        # some 75 seconds on two cores; agrees with the gold judge on 95 %

two SL answers a prompt -> AI feedback on harmlessness, simulated human labels on helpfulness -> comparisons.jsonl
-> Bradley-Terry with soft targets, started from SL (Bai et al. 2022, section 4.1) -> scores normalised."""
import random
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from minicai import assistant, checkpoint, constitution, data, feedback, finetune, optimise, preference, tokens
from minicai.model import ScalarModel
from minicai.run import Common, Log, base, device_of, fit_memory, flag, script, seeded, stage


@dataclass(frozen=True, slots=True)
class Config(Common):
    constitution: str = flag("constitution.txt", "text file, a principle a line")
    comparisons: str = flag("", "file of human helpfulness comparisons (hh-rlhf, TRL), in place of simulated ones")
    few_shot: str = flag("", "JSONL file of worked comparisons to show the judge first")
    red_team_prompts: int = flag(1500, "harmful requests that the SL model answers", least=2)
    helpful_prompts: int = flag(1000, "harmless requests that it answers; of --comparisons, so many at most", least=2)
    samples: int = flag(4, "answers to each request, of which the two that differ most make a pair", least=2)
    helpful_temperature: float = flag(1.5, "of the harmless answers: at 1 nearly all are right, and alike", least=0.1)
    keep: float = flag(0.35, "share of the pairs that is kept and judged: those that differ most", least=0.01, most=1)
    principles_per_pair: int = flag(2, "principles sampled for a pair, whose labels are averaged", least=1)
    reasoning: bool = flag(True, "let the judge think before it chooses (--no-reasoning: a letter at once)")
    clamp: float = flag(0.5, "keep reasoned labels within 0.5 +- this (the paper: 0.1)", least=0, most=0.5)
    ai_weight: float = flag(2.0, "weight of an AI comparison beside a human one", least=0)
    held_out: float = flag(0.15, "share of the comparisons kept for testing the reward model", least=0.01, most=0.5)
    epochs: int = flag(5, "passes over the comparisons", least=1)
    lr: float = flag(5e-4, "learning rate", least=0)
    batch: int = flag(32, "comparisons an update", least=1)
    max_new: int = flag(80, "longest answer or reasoning in tokens", least=1)


def main(cfg: Config) -> None:
    sections, device, run = constitution.load_sections(cfg.constitution), device_of(cfg.device), Path(cfg.run)
    source, (_, shown) = base.source_of(run), data.examples(cfg.few_shot)
    human = data.comparisons(cfg.comparisons) if cfg.comparisons else []
    judge, tokenizer = checkpoint.load_model(run / "base", device=device)
    writer, _ = checkpoint.load_model(run / "sl", device=device)
    with stage(cfg, "rm") as log:
        fit_memory(log, [writer], [judge], cfg.micro_batch)
        rng, generator = seeded(cfg.seed, "rm", device)

        # 1. The SL model answers every prompt; of its answers the two that differ most make a pair.
        with log.timed("pairs"):
            sl = log.keep.recorded(assistant.Assistant(writer, tokenizer, generator, max_new=cfg.max_new))
            ai = feedback.draw_pairs(source.red_team(cfg.red_team_prompts, rng), sl, "ai", cfg.samples, cfg.keep, 1.0)
            kind = source.helpful(cfg.helpful_prompts, rng) if source.label and not human else []
            human = rng.sample(human, min(cfg.helpful_prompts, len(human))) if not kind else source.label(
                feedback.draw_pairs(kind, sl, "human", cfg.samples, cfg.keep, cfg.helpful_temperature))
            usual = source.mixed(256, 0.5, rng)
            reference = usual, sl.reply([[("user", prompt)] for prompt in usual])

        # 2. The frozen base judges harmlessness by the constitution; humans, here simulated ones, judge helpfulness.
        with log.timed("labels"):
            reader = log.keep.recorded(assistant.Assistant(judge, tokenizer, generator, max_new=cfg.max_new))
            feedback.compare_in_order(ai, sections, reader, rng=rng, reasoning=cfg.reasoning, clamp=cfg.clamp,
                                      per_pair=cfg.principles_per_pair, examples=shown)
        checkpoint.append_jsonl(log.folder / "comparisons.jsonl", items := ai + human)
        learn(log, source, ScalarModel(writer.model).to(device), tokenizer, items, reference, cfg, rng)


def learn(log: Log, source, model: ScalarModel, tokenizer: tokens.Tokenizer, items: list[feedback.Comparison],
          reference: tuple[list[str], list[str]], cfg: Config, rng: random.Random) -> None:
    """Comparisons with labels -> a saved reward model and its report; reference: usual prompts, and SL's answers."""
    # 3. Bradley-Terry on both sources mixed; some prompts of each are held out.
    apart = max(2, round(1 / cfg.held_out))
    held, rest = items[::apart], [item for i, item in enumerate(items) if i % apart]
    with log.timed("reward model"):
        steps = fit(model, tokenizer, rest, cfg, rng, log.keep.steps)
        log.follow("bradley-terry", steps, total=cfg.epochs * -(-len(rest) // cfg.batch), every=20)
    source.report_reward(log, held, lambda *texts: preference.text_scores(model, tokenizer, *texts))
    # 4. Normalise on SL's own answers, so that a KL coefficient means the same whatever the scale of the scores.
    preference.normalise(model, preference.text_scores(model, tokenizer, *reference))
    checkpoint.save_model(log.folder, model, tokenizer, asdict(cfg))


def fit(model: ScalarModel, tokenizer: tokens.Tokenizer, items: list[feedback.Comparison], cfg: Config,
        rng: random.Random, keep: Callable) -> Iterator[dict]:
    """Train on the comparisons, the learning rate falling to 0; yields the stats of each update."""
    torch.nn.init.normal_(model.score.weight, std=(model.config.hidden_size + 1) ** -0.5)
    optimiser = optimise.adamw([{"params": list(model.parameters())}], cfg.lr)
    plan = finetune.batches(items, cfg.batch, cfg.epochs, rng)
    for step, (epoch, some) in keep(enumerate(plan), model=model, optimiser=optimiser):
        a, b = preference.read_scores(model, tokenizer, [(i.prompt, x) for i in some for x in (i.a, i.b)]).view(-1, 2).T
        labels = [[item.p_a, cfg.ai_weight if item.source == "ai" else 1.0] for item in some]
        p_a, weight = torch.tensor(labels, device=a.device).T
        loss, stats = preference.bradley_terry_loss(a, b, p_a, weight=weight)
        optimise.update(loss, [optimiser], scale=1 - step / len(plan))
        yield {"step": step + 1, "epoch": epoch} | {name: value.item() for name, value in stats.items()}


if __name__ == "__main__":
    script(main, Config, __doc__)
