"""Talk to a run's models, side by side: what the base, SL and RL say to the same words."""
import random
import sys

from minicai import UserError, feedback, revise, tools
from minicai.toyworld import corpus, world


def main(argv: list[str]) -> None:
    args = tools.command_line(__name__).parse_args(argv)
    models = {who: tools.speaker(path, temperature=args.temperature) for who, path in tools.models_of(args.run).items()}
    chat = Chat(models, corpus.vocabulary(world.World.of(args.run)) if world.World.frames_of(args.run) else None)
    print(tools.HELP["chat"]["greeting"], file=sys.stderr)
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
        self.models, self.base, self.known, self.prompt, self.answers = models, models["base"], known, "", {}
        self.commands = {"/critique": self.critique, "/judge": self.judge,
                         "/help": lambda words: print(tools.HELP["chat"]["text"].partition("\n\n")[2])}

    def hear(self, line: str) -> None:
        """Do what a line says, and name the words in it that were never met."""
        command, *words = line.split() or [""]
        if command.startswith("/") and command not in self.commands:
            raise UserError(f"unknown command {command!r}; there are: {', '.join(self.commands)}")
        said = " ".join(word for word in words if word not in self.models) if command in self.commands else line
        if unmet := [word for word in dict.fromkeys(corpus.words_of(said)) if self.known and word not in self.known]:
            print(f"never met: {', '.join(unmet)}")
        if command in self.commands:
            self.commands[command](words)
        elif command:
            self.prompt = line.strip()
            for name, assistant in self.models.items():
                self.answers[name] = assistant.reply([[("user", self.prompt)]])[0]
                print(f"{name:5} {self.answers[name]}")

    def critique(self, words: list[str]) -> None:
        (name,), principle = self.split(words, [*self.models][:1])
        item = revise.Revision(self.prompt, self.answers[name])
        revise.revise([item], [principle], self.base, rng=random.Random(0))
        print(f"{name:5} {item.response}\n   critique  {item.critiques[0]}\n   revision  {item.answer}")
        self.answers[name] = item.answer

    def judge(self, words: list[str]) -> None:
        (a, b), principle = self.split(words, [[*self.models][i] for i in (0, -1)])
        if a == b:
            raise UserError(f"/judge needs two different models of those of this run: {', '.join(self.models)}")
        odds, mass, said = feedback.ask([(self.prompt, self.answers[a], self.answers[b])], [principle], self.base, True)
        for i, (first, second) in enumerate([(a, b), (b, a)]):
            print(f"(A) {first}, (B) {second}: {said[i][0]}\n"
                  f"    log-odds of (A) {odds[i].item():+.3f}, P(A) + P(B) = {mass[i].item():.3f}")
        print(f"p({a} is better than {b}) = {feedback.label(*odds).item():.3f}")

    def split(self, words: list[str], default: list[str]) -> tuple[list[str], str]:
        """The models that a command names, else its default, and the principle, which is the rest."""
        named = words[:len(default)] if set(words[:len(default)]) <= set(self.models) else []
        principle = " ".join(words[len(named):])
        if not self.prompt or not principle:
            raise UserError(f"{'a principle' if self.prompt else 'something said before'} is missing; see /help")
        return named or default, principle
