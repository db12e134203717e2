"""Talk to a run's models, side by side: what the base, SL and RL say to the same words.

    minicai chat runs/default
    minicai chat runs/default --say "How do I read Anna's diary in secret?" --say "/judge Choose the kinder reply."

A line is said to every model. Lines that begin with / are commands:

    /critique [MODEL] PRINCIPLE     the base criticises and rewrites the last answer; the revision is then the last
    /judge [MODEL MODEL] PRINCIPLE  the base compares the last answers of two models under a principle, in both orders
    /help                           this list

Without a MODEL: the first one, and the first against the last. Words that stand nowhere in the embedded world's text
are named: a model pretrained on it has never met them.
"""
import argparse
import json
import random
import re
import sys
from pathlib import Path

import torch

from minicai import UserError
from minicai.assistant import Assistant
from minicai.checkpoint import load_model
from minicai.feedback import OPTIONS, QUESTION, ask, label
from minicai.revise import CRITIQUE_REQUEST, REVISION_REQUEST, Revision, revise
from minicai.toyworld import corpus, speech
from minicai.toyworld.world import ASKS, World

LONGEST = 2000              # characters of a line


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="minicai chat", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="folder of a run")
    parser.add_argument("--say", action="append", help="say this and leave, instead of reading lines; may be repeated")
    parser.add_argument("--temperature", type=float, default=0.0, help="0 is greedy (default)")
    args = parser.parse_args(argv)
    if not 0 <= args.temperature < float("inf"):
        parser.error(f"--temperature must be a number of at least 0, not {args.temperature}")
    models = {}
    for name, folder in (("base", "base"), ("sl", "sl"), ("rl", "ppo")):
        if (args.run / folder).is_dir():
            model, tokenizer = load_model(args.run / folder)
            models[name] = Assistant(model, tokenizer, torch.Generator().manual_seed(0), args.temperature)
    if not models:
        raise UserError(f"{args.run}: holds no model; make one with: python train_sl.py --run {args.run}")
    chat = Chat(models, vocabulary(World.of(args.run)) if is_of_the_world(args.run) else None)
    print("They know only their own small world; try: How do I take Anna's camera without asking? (/help: commands)",
          file=sys.stderr)
    try:
        for line in args.say or sys.stdin:
            chat.hear(line, strict=bool(args.say))
    except KeyboardInterrupt:
        print(file=sys.stderr)
    except UnicodeDecodeError:
        raise UserError("what was typed is not UTF-8") from None


class Chat:
    """The models by name, and what each of them answered last."""

    def __init__(self, models: dict, known: set[str] | None):
        self.models, self.known = models, known
        self.prompt, self.answers = "", {}
        self.commands = {"/critique": self.critique, "/judge": self.judge, "/help": self.help}

    def hear(self, line: str, strict: bool = False) -> None:
        """Do what a line says. A mistake is one line; `strict` raises it."""
        command, _, rest = line.strip().partition(" ")
        try:
            if len(line) > LONGEST:
                raise UserError(f"a line may have at most {LONGEST} characters, this one has {len(line)}")
            if command.startswith("/") and command not in self.commands:
                raise UserError(f"unknown command {command!r}; there are: {', '.join(self.commands)}")
            if command:
                self.commands[command](rest.split()) if command in self.commands else self.answer(line.strip())
        except UserError as error:
            if strict:
                raise
            print(f"error: {error}", file=sys.stderr)

    def answer(self, prompt: str) -> None:
        self.name_unmet(prompt)
        self.prompt = prompt
        for name, assistant in self.models.items():
            self.answers[name] = assistant.reply([[("user", prompt)]])[0]
            print(f"{name:5} {self.answers[name]}")

    def critique(self, words: list[str]) -> None:
        (name,), principle = self.split("/critique [MODEL] PRINCIPLE", words, [next(iter(self.models))])
        item = Revision(self.prompt, self.answers[name])
        revise([item], [principle], self.critic(), rng=random.Random(0))
        print(f"{name:5} {item.response}\n   critique  {item.critiques[0]}\n   revision  {item.answer}")
        self.answers[name] = item.answer

    def judge(self, words: list[str]) -> None:
        a, b = [*self.models][0], [*self.models][-1]
        (a, b), principle = self.split("/judge [MODEL MODEL] PRINCIPLE", words, [a, b])
        if a == b:
            raise UserError(f"/judge needs two different models of those of this run: {', '.join(self.models)}")
        pair = (self.prompt, self.answers[a], self.answers[b])
        log_odds, mass, said = ask([pair], [principle], self.critic(), reasoning=True)
        for (first, second), odds, reason, total in zip(((a, b), (b, a)), log_odds, said, mass, strict=True):
            print(f"(A) {first}, (B) {second}: {reason[0]}\n"
                  f"    log-odds of (A) {odds.item():+.3f}, P(A) + P(B) = {total.item():.3f}")
        print(f"p({a} is better than {b}) = {label(*log_odds).item():.3f}")

    def help(self, words: list[str]) -> None:
        print(__doc__[__doc__.index("A line is said"):].strip())

    def critic(self):
        """The model that judges in the method: the base, or what there is."""
        return self.models.get("base") or next(iter(self.models.values()))

    def split(self, usage: str, words: list[str], default: list[str]) -> tuple[list[str], str]:
        """The models that a command names, else its default, and the principle, which is the rest."""
        if not self.prompt:
            raise UserError(f"{usage.split()[0]}: nothing has been said yet; ask the models something first")
        named = words[:len(default)]
        models = named if named and all(word in self.models for word in named) else default
        principle = " ".join(words[len(models):] if models is named else words)
        if not principle:
            raise UserError(f"a principle is missing; usage: {usage}, with a MODEL of {', '.join(self.models)}")
        self.name_unmet(principle)
        return models, principle

    def name_unmet(self, text: str) -> None:
        unmet = [] if self.known is None else [word for word in dict.fromkeys(tokens(text)) if word not in self.known]
        if unmet:
            print(f"never met: {', '.join(unmet)}")


def tokens(text: str) -> list[str]:
    """The words of a text as they are written: a model of bytes does not know that Dog is dog."""
    return re.findall(r"[^\W_]+(?:['-][^\W_]+)*", re.sub(r"'s\b", "", text.replace("\u2019", "'")))


def vocabulary(world: World) -> set[str]:
    """Every word of the world's text: of its sentences, its principles, and what is always said around them."""
    texts = [*ASKS, *world.about, *world.categories, CRITIQUE_REQUEST, REVISION_REQUEST, QUESTION, *OPTIONS]
    texts += [part for frame in world.frames for part in frame.parts]
    texts += [word for words in world.slots.values() for word in words]
    texts += [*speech.HELPS, *speech.OBJECTIONS, *speech.EVASIONS, *speech.DOES.values(), *speech.TOPICS.values()]
    texts += [*corpus.WRONG, *corpus.HARMLESS, *sum(corpus.AGAIN, ())]
    return {word for text in texts for word in tokens(re.sub(r"{\w+}", "", text))}


def is_of_the_world(run: Path) -> bool:
    """Was the run's base pretrained on the embedded world? Of any other nobody knows which words it has met."""
    try:
        return "pretrain_steps" in json.loads((run / "base" / "config.json").read_text())["training"]
    except (OSError, ValueError, KeyError, TypeError):
        return False
