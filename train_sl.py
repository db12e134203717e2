"""Stage 1, SL-CAI: the base criticises and revises its own answers by the constitution and learns from the revisions.

    python train_sl.py --run runs/default        # about 8 minutes on two cores, 7 of them pretraining

red-team prompts -> responses -> K critique-revision steps -> transcripts.jsonl -> fine-tuning (Bai et al., section 3)
A run that has no base yet gets one first: pretrained from nothing on the embedded world, a helpful-only assistant."""
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

from minicai import assistant, checkpoint, constitution, data, revise
from minicai.finetune import finetune, response_example
from minicai.run import Common, base, device_of, fit_memory, flag, refuse_existing, script, seeded, stage
from minicai.toyworld.world import MOST


@dataclass(frozen=True, slots=True)
class Config(Common):
    constitution: str = flag("constitution.txt", "text file, a principle a line")
    base: str = flag("", "base to take instead of pretraining one: a local Hugging Face folder, or another run's base/")
    red_team: str = flag("", "with --base: file of harmful prompts (lines, JSONL, hh-rlhf, red_team_attempts)")
    helpful: str = flag("", "with --base: file of harmless prompts")
    few_shot: str = flag("", "JSONL file of worked examples to show first, for a base that is no chat model")
    pretrain_steps: int = flag(2200, "updates of pretraining, 30 documents each", least=1)
    frames: int = flag(MOST, "acts of each kind of harm that it sees judged: more carry further", least=1, most=MOST)
    hidden_size: int = flag(128, "width of the pretrained model, a multiple of 32", least=32)
    layers: int = flag(4, "layers of the pretrained model", least=1)
    red_team_prompts: int = flag(640, "harmful requests to answer, criticise and revise", least=1)
    helpful_prompts: int = flag(960, "harmless requests whose answers keep the model helpful", least=1)
    revisions: int = flag(4, "K, critique-revision steps for each prompt", least=1)
    max_new: int = flag(80, "longest answer, critique or revision in tokens", least=1)
    temperature: float = flag(0.5, "of answers, critiques, revisions; at 1 a small model misspells", least=0)
    critique: bool = flag(True, "criticise before revising (--no-critique: direct revision)")
    sft_on: str = flag("final", "learn from the last revision, or from all as the paper does", choices=("final", "all"))
    epochs: int = flag(3, "passes over the fine-tuning data", least=1)
    lr: float = flag(4e-4, "learning rate of fine-tuning, falling linearly to 0", least=0)
    batch: int = flag(32, "conversations an update", least=1)
    probes: int = flag(96, "validation requests of each sort to measure on", least=8)


def main(cfg: Config) -> None:
    principles, device, run = constitution.load(cfg.constitution), device_of(cfg.device), Path(cfg.run)
    refuse_existing(cfg, "sl")
    (shown, _), source = data.examples(cfg.few_shot), base.bring_base(cfg)        # first the mistakes, then the work
    model, tokenizer = checkpoint.load_model(run / "base", device=device)
    with stage(cfg, "sl") as log:
        fit_memory(log, [model], [], cfg.micro_batch)
        rng, generator = seeded(cfg.seed, "sl", device)
        speaker = log.keep.recorded(assistant.Assistant(model, tokenizer, generator, cfg.temperature, cfg.max_new))

        # 1. The helpful-only base answers red-team prompts, and harmless ones.
        with log.timed("responses"):
            harm, kind = source.red_team(cfg.red_team_prompts, rng), source.helpful(cfg.helpful_prompts, rng)
            first = [turn for e in shown for turn in (("user", e.prompt), ("assistant", e.response))]
            answers = speaker.reply([[*first, ("user", prompt)] for prompt in harm + kind])
            items = [revise.Revision(prompt, a) for prompt, a in zip(harm, answers[:len(harm)], strict=True)]

        # 2. It criticises and revises its harmful answers, K times, under a principle drawn anew each time.
        with log.timed("critique and revision"):
            for step in range(cfg.revisions):
                revise.revise(items, principles, speaker, rng=rng, critique=cfg.critique, examples=shown)
                changed = sum(item.answer != item.response for item in items) / len(items)
                log.metrics(show=True, phase="revision", step=step + 1, changed=changed,
                            dropped=sum(item.dropped for item in items))
        checkpoint.append_jsonl(log.folder / "transcripts.jsonl", items)
        log.say(f"the first transcript\n{items[0]}")

        # 3. It learns from the revisions and, to stay helpful, from its own answers to the harmless prompts.
        pairs = [(item.prompt, text) for item in items for text in item.revisions[0 if cfg.sft_on == "all" else -1:]]
        pairs += zip(kind, answers[len(harm):], strict=True)
        rows = [response_example(tokenizer, [("user", prompt), ("assistant", text)]) for prompt, text in pairs]
        with log.timed("fine-tuning"):
            steps = finetune(model, rows, epochs=cfg.epochs, lr=cfg.lr, batch=cfg.batch, rng=rng, keep=log.keep.steps)
            log.follow("sft", steps, total=cfg.epochs * -(-len(rows) // cfg.batch), every=20)
        checkpoint.save_model(log.folder, model, tokenizer, asdict(cfg))
        shutil.copy(cfg.constitution, log.folder / "constitution.txt")
        source.report(log, "sl", speaker, cfg.probes, cfg.seed)


if __name__ == "__main__":
    script(main, Config, __doc__)
