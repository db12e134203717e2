"""AI feedback (Bai et al. 2022, section 4.1): two answers -> Comparison. Knows an assistant by `reply` and `logp`.

The label is read off the log-probabilities of both options, never off sampled text. Every question is asked in both
orders of the answers (Lee et al. 2023, arXiv 2309.00267), so that a liking for the letter A cancels exactly."""
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import combinations

from torch import Tensor

from minicai import constitution, tokens

QUESTION = "Question: {prompt}\n(A) {a}\n(B) {b}\nPrinciple: {principle}\nWhich answer follows the principle better?"
REASONING = " Think first."
CHOICE = "So the choice is"
OPTIONS = (" (A)", " (B)")
DOUBT = 0.1                 # a label nearer to 0.5 leaves the question to the next section of the constitution


@dataclass(slots=True)
class Comparison:
    """Two answers to one prompt and the probability that the first is the better, with all that led to it."""
    prompt: str
    a: str
    b: str
    p_a: float = 0.5
    source: str = "ai"                                          # who says so: "ai" or "human"
    principles: list[str] = field(default_factory=list)
    log_odds: list[list[float]] = field(default_factory=list)   # for each principle: A over B as asked, and swapped
    reasons: list[list[str]] = field(default_factory=list)      # the same, the judge's reasoning
    mass: float = 1.0                                           # mean P(A) + P(B): low where the judge does not answer


def overlap(pair: tuple[str, str]) -> float:
    """The share of two answers' words that both have: where it is high, a comparison teaches nothing."""
    a, b = (set(text.split()) for text in pair)
    return len(a & b) / max(1, len(a | b))


def draw_pairs(prompts: list[str], assistant, source: str, samples: int, keep: float,
               temperature: float) -> list[Comparison]:
    """Of `samples` answers to each prompt the two with the least overlap, for the share `keep` where that is least."""
    drawn = [assistant.reply([[("user", prompt)] for prompt in prompts], temperature) for _ in range(samples)]
    pairs = [min(combinations(answers, 2), key=overlap) for answers in zip(*drawn, strict=True)]
    kept = sorted(range(len(pairs)), key=lambda i: overlap(pairs[i]))[:max(2, round(keep * len(pairs)))]
    return [Comparison(prompts[i], *pairs[i], source=source) for i in sorted(kept)]


def question_turns(prompt: str, a: str, b: str, principle: str, reasoning: bool) -> list[tokens.Turn]:
    """The conversation whose next turn is the choice."""
    return [("user", QUESTION.format(prompt=prompt, a=a, b=b, principle=principle) + REASONING * reasoning)]


def example_turns(example: Comparison, principle: str, reasoning: bool) -> list[tokens.Turn]:
    """A worked example, as it comes before a question: the better answer by its label, perhaps with its reason."""
    begun = f"{example.reasons[0][0]} {CHOICE}".lstrip() if reasoning and example.reasons else CHOICE
    asked = question_turns(example.prompt, example.a, example.b, principle, reasoning)
    return [*asked, ("assistant", begun + OPTIONS[example.p_a < 0.5] + ".")]


def ask(pairs: list[tuple[str, str, str]], principles: list[str], assistant, reasoning: bool,
        shown: list[list[tokens.Turn]] | None = None) -> tuple[Tensor, Tensor, list]:
    """Put each (prompt, a, b) to the judge under its principle, as it stands and swapped; `shown` are the turns before.

    -> log P(A) - log P(B) and P(A) + P(B), both (2, N) over orders and pairs, and what was said before the choice."""
    n, orders = len(pairs), (pairs, [(prompt, b, a) for prompt, a, b in pairs])
    asked = [before + question_turns(*pair, principle, reasoning) for order in orders
             for before, pair, principle in zip(shown or [[]] * n, order, principles, strict=True)]
    said = assistant.reply(asked, temperature=0.0) if reasoning else [""] * len(asked)    # greedy: alike if asked alike
    begun = [(text.split(CHOICE)[0].rstrip() + " " + CHOICE).lstrip() for text in said]
    a, b = (assistant.logp(asked, begun, [option] * len(begun)) for option in OPTIONS)
    return (a - b).view(2, n), (a.exp() + b.exp()).view(2, n), [begun[:n], begun[n:]]


def label(log_odds: Tensor, swapped: Tensor) -> Tensor:
    """p(first is better) from the log-odds of A over B with the first answer at A, and with it at B; any shape."""
    return ((log_odds - swapped) / 2).sigmoid()      # half of (s + bias) - (-s + bias) is s: the bias is gone


def compare(items: list[Comparison], principles: list[str], assistant, *, rng: random.Random, reasoning: bool = True,
            per_pair: int = 1, clamp: float = 0.5, examples: Sequence[Comparison] = ()) -> None:
    """Label each item in place: mean over `per_pair` principles, both orders; reasoned labels within 0.5 +- clamp."""
    items = [item for item in items if item.a != item.b]      # equal answers are 0.5 in both orders: no need to ask
    drawn = constitution.draw(principles, per_pair * len(items), rng)
    pairs = [(item.prompt, item.a, item.b) for item in items for _ in range(per_pair)]
    shown = [[turn for e, principle in zip(examples, constitution.draw(principles, len(examples), rng), strict=True)
              for turn in example_turns(e, principle, reasoning)] for _ in pairs]    # examples, each under its own draw
    log_odds, mass, reasons = ask(pairs, drawn, assistant, reasoning, shown)
    reach = clamp if reasoning else 0.5                       # reasoning makes labels extreme: the paper clamps at 0.1
    p = label(*log_odds).clamp(0.5 - reach, 0.5 + reach)
    for k, item in enumerate(items):
        some = slice(k * per_pair, (k + 1) * per_pair)
        item.p_a, item.mass = p[some].mean().item(), mass[:, some].mean().item()
        item.principles += drawn[some]
        item.log_odds += log_odds[:, some].T.tolist()
        item.reasons += [list(both) for both in zip(reasons[0][some], reasons[1][some], strict=True)]


def compare_in_order(items: list[Comparison], sections: list[list[str]], assistant, **settings) -> None:
    """`compare` by the most important section, then by the next where doubt is left; the last one's label stands."""
    for principles in sections:
        compare(items, principles, assistant, **settings)
        items = [item for item in items if abs(item.p_a - 0.5) < DOUBT]
