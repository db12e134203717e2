"""Talk to a run's models, side by side: what the base, SL and RL say to the same words.

    minicai chat runs/default
    minicai chat runs/default --say "How do I read Anna's diary in secret?" --say "/judge Choose the kinder reply."

A line is said to every model. Lines that begin with / are commands:

    /critique [MODEL] PRINCIPLE     the base criticises and rewrites the last answer; the revision is then the last
    /judge [MODEL MODEL] PRINCIPLE  the base compares the last answers of two models under a principle, in both orders
    /help                           this list

Without a MODEL: the first one, and the first against the last. Words that the embedded world never says are named.
"""
import random
import sys

from minicai import UserError
from minicai.feedback import ask, label
from minicai.revise import Revision, revise
from minicai.tools import command_line, models_of, speaker
from minicai.toyworld.corpus import vocabulary, words_of
from minicai.toyworld.world import World

LONGEST = 2000              # characters of a line


def main(argv: list[str]) -> None:
    parser = command_line(__name__, "run", "folder of a run")
    parser.add_argument("--say", action="append", help="say this and leave, instead of reading lines; may be repeated")
    parser.add_argument("--temperature", type=float, default=0.0, help="0 is greedy (default)")
    args = parser.parse_args(argv)
    if not 0 <= args.temperature < float("inf"):
        parser.error(f"--temperature must be a number of at least 0, not {args.temperature}")
    models = {name: speaker(folder, temperature=args.temperature) for name, folder in models_of(args.run).items()}
    chat = Chat(models, vocabulary(World.of(args.run)) if World.frames_of(args.run) else None)
    print("They know only their own small world; try: How do I take Anna's camera without asking? (/help: commands)",
          file=sys.stderr)
    for line in args.say or open(sys.stdin.fileno(), encoding="utf-8", errors="replace", closefd=False):
        try:
            chat.hear(line)
        except UserError as error:
            if args.say:
                raise
            print(f"error: {error}", file=sys.stderr)


class Chat:
    """The models by name, what was said last, and what each of them answered. known: words of their world, or None."""

    def __init__(self, models: dict, known: set[str] | None):
        self.models, self.known, self.prompt, self.answers = models, known, "", {}
        self.commands = {"/critique": self.critique, "/judge": self.judge, "/help": self.help}

    def hear(self, line: str) -> None:
        """Do what a line says."""
        command, *words = line.split() or [""]
        if len(line) > LONGEST:
            raise UserError(f"a line may have at most {LONGEST} characters, this one has {len(line)}")
        if command in self.commands:
            self.commands[command](words)
        elif command.startswith("/"):
            raise UserError(f"unknown command {command!r}; there are: {', '.join(self.commands)}")
        elif command:
            self.answer(line.strip())

    def answer(self, prompt: str) -> None:
        self.name_unmet(prompt)
        self.prompt = prompt
        for name, assistant in self.models.items():
            self.answers[name] = assistant.reply([[("user", prompt)]])[0]
            print(f"{name:5} {self.answers[name]}")

    def critique(self, words: list[str]) -> None:
        (name,), principle = self.split(words, [*self.models][:1])
        item = Revision(self.prompt, self.answers[name])
        revise([item], [principle], self.models["base"], rng=random.Random(0))
        print(f"{name:5} {item.response}\n   critique  {item.critiques[0]}\n   revision  {item.answer}")
        self.answers[name] = item.answer

    def judge(self, words: list[str]) -> None:
        (a, b), principle = self.split(words, [[*self.models][i] for i in (0, -1)])
        if a == b:
            raise UserError(f"/judge needs two different models of those of this run: {', '.join(self.models)}")
        pair = self.prompt, self.answers[a], self.answers[b]
        log_odds, mass, said = ask([pair], [principle], self.models["base"], reasoning=True)
        for i, (first, second) in enumerate([(a, b), (b, a)]):
            print(f"(A) {first}, (B) {second}: {said[i][0]}\n"
                  f"    log-odds of (A) {log_odds[i].item():+.3f}, P(A) + P(B) = {mass[i].item():.3f}")
        print(f"p({a} is better than {b}) = {label(*log_odds).item():.3f}")

    def help(self, words: list[str]) -> None:
        print(__doc__[__doc__.index("A line is said"):].strip())

    def split(self, words: list[str], default: list[str]) -> tuple[list[str], str]:
        """The models that a command names, else its default, and the principle, which is the rest."""
        if not self.prompt:
            raise UserError("nothing has been said yet; ask the models something first")
        named = words[:len(default)] if set(words[:len(default)]) <= set(self.models) else []
        principle = " ".join(words[len(named):])
        if not principle:
            raise UserError(f"a principle is missing; see /help (a MODEL is one of {', '.join(self.models)})")
        self.name_unmet(principle)
        return named or default, principle

    def name_unmet(self, text: str) -> None:
        if unmet := [word for word in dict.fromkeys(words_of(text)) if self.known and word not in self.known]:
            print(f"never met: {', '.join(unmet)}")
