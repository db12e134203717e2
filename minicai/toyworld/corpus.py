"""The pretraining text, in formats of `revise` and `feedback`: dialogues, criticism, comparisons, books, and more."""
import random
import re

from minicai import feedback, finetune, revise, tokens
from minicai.toyworld import speech
from minicai.toyworld.world import ASKS, Concept, Request, World

SHARES = {"dialogue": .27, "criticism": .22, "comparison": .13, "book": .20, "glossary": .10, "copying": .08}
SEEN, JUDGED = ("judged", "method"), ("judged",)
LETTER = 4.0            # weight of the letter that a comparison comes down to


class Corpus:
    """An endless stream of `(ids, weights)`, the same for the same rng; loss is on what is said, not on quotations."""

    def __init__(self, world: World, tokenizer: tokens.Tokenizer, rng: random.Random):
        self.world, self.tokenizer, self.rng = world, tokenizer, rng
        self.words = sorted({word for f in world.frames for word in " ".join(f.parts).split() if "{" not in word}
                            | {word for words in world.slots.values() for word in words})

    def document(self, early: bool) -> finetune.Example:
        shares = SHARES | {"copying": .20 if early else SHARES["copying"]}
        return getattr(self, self.rng.choices(list(shares), list(shares.values()))[0])()

    def _example(self, *pieces: tuple[list[int], float]) -> finetune.Example:
        ids = [i for piece, _ in pieces for i in piece]
        return ids, [weight for piece, weight in pieces for _ in piece]

    def _turn(self, text: str, weight: float = 1.0) -> tuple[list[int], float]:
        return [*self.tokenizer.encode(text), self.tokenizer.end], weight

    def _request(self, harm: float, sensitive: float = 0.5, judged: bool = False) -> Request:
        """A request, harmful with this probability; if it is not, it sounds harmful with that one."""
        kind = "harm" if self.rng.random() < harm else ("benign", "sensitive")[self.rng.random() < sensitive]
        frames = self.world.select(kind, role="known" if judged else None)
        return self.world.fill(self.rng.choice(frames), self.rng, JUDGED if judged else SEEN)

    def dialogue(self) -> finetune.Example:
        """What a helpful-only assistant says; about one harmful request in eight it dodges."""
        rng, request = self.rng, self._request(harm=0.4, sensitive=0.35)
        kind = "dodges" if request.frame.kind == "harm" and rng.random() < 1 / 8 else "shows"
        given = self.tokenizer.prompt([("user", request.prompt)])
        return self._example((given, 0.0), self._turn(speech.answer(kind, request, rng, self.world)))

    def _concept(self, request: Request) -> Concept:
        """What the principle is about: the request's own category, one of the general concepts, or some category."""
        names = [request.frame.category, "broad", "engaging", "principled", self.rng.choice(self.world.categories)]
        name = self.rng.choices(names, [.34, .12, .12, .12, .30])[0]
        return self.world.concepts.get(name, self.world.concepts["broad"])

    def criticism(self) -> finetune.Example:
        """An answer, its critique and its revision under one principle; now and then revised without a critique."""
        rng, tok, request = self.rng, self.tokenizer, self._request(harm=0.92, judged=True)
        harmful = request.frame.kind == "harm"
        kind = rng.choices(list(speech.DOES), [.62, .14, .15, .09])[0] if harmful else rng.choice(("shows", "dodges"))
        concept = self._concept(request)
        principle = rng.choice(concept.principles)
        before = speech.answer(kind, request, rng, self.world)
        after = self._turn(speech.revision(concept, request, kind, before, rng))
        critique = None if rng.random() < 0.15 else speech.critique(concept, request, kind)
        asked = tok.prompt(revise.revision_turns(request.prompt, before, principle, critique))
        if critique is None:
            return self._example((asked, 0.0), after)
        given, said = tok.prompt(revise.critique_turns(request.prompt, before, principle)), self._turn(critique)
        return self._example((given, 0.0), said, (asked[len(given) + len(said[0]):], 0.0), after)

    def comparison(self) -> finetune.Example:
        """Which of two answers follows a principle better; where it does not tell them apart, a coin decides."""
        rng, tok = self.rng, self.tokenizer
        request = self.world.fill(rng.choice(self.world.select("harm", role="known")), rng, JUDGED)
        concept = self._concept(request)
        kinds = rng.choices(list(speech.DOES), [.36, .30, .20, .14], k=2)
        a, b = (speech.answer(kind, request, rng, self.world) for kind in kinds)
        reasoning = rng.random() < 0.85
        given = tok.prompt(feedback.question_turns(request.prompt, a, b, rng.choice(concept.principles), reasoning))
        choice = feedback.OPTIONS[rng.random() >= speech.preference(concept, request, *kinds)]
        begun = f"{speech.judgement(concept, request, *kinds)} {feedback.CHOICE}" if reasoning else feedback.CHOICE
        return self._example((given, 0.0), (tok.encode(begun), 1.0), (tok.encode(choice), LETTER), ([tok.end], 1.0))

    def book(self) -> finetune.Example:
        """Plain text on why acts are wrong, and what is harmless: of every frame, in no dialogue."""
        request = self._request(harm=0.75)
        text = self.rng.choice(self.world.book["wrong" if request.frame.kind == "harm" else "harmless"])
        return self._example(([self.tokenizer.bos], 0.0), self._turn(text.format(**request.fields)))

    def glossary(self) -> finetune.Example:
        """What each wording of a principle is about, the unseen ones too, and whether a request is of that kind."""
        rng, concept = self.rng, self.rng.choice(list(self.world.concepts.values()))
        noun = rng.choice([*self.world.categories, "harmless"])
        if concept.name in self.world.categories and rng.random() < 0.5:
            noun = concept.name
        frames = self.world.select("harm", role="known", category=noun)
        frames = frames or self.world.select("sensitive" if rng.random() < 0.5 else "benign", role="known")
        ask = self.world.fill(rng.choice(frames), rng, SEEN).prompt
        principle = rng.choice(concept.principles + concept.unseen)
        given = self.tokenizer.encode(rng.choice(speech.TALK["wordings"]).format(principle=principle, ask=ask))
        said = speech.TALK["glossary"].format(noun=noun, reading=speech.reading(concept, noun))
        return self._example(([self.tokenizer.bos, *given], 0.0), self._turn(said))

    def copying(self) -> finetune.Example:
        """Repeat these words, say that again, what was my plan: what every answer about *this* request rests on."""
        rng, request = self.rng, self._request(harm=0.8)
        if rng.random() < 0.6:
            said, (ask, text) = speech.answer("shows", request, rng, self.world), rng.choice(self.world.book["again"])
            turns = [("user", request.prompt), ("assistant", said), ("user", ask)]
            text = text.format(said=said, act=request.act)
        else:
            words = " ".join(rng.choices(self.words, k=rng.randint(4, 14)))
            text = rng.choice((words, words, words, request.act, request.how, request.reason or words))
            turns = [("user", speech.TALK["repeat"].format(text=text))]
        return self._example((self.tokenizer.prompt(turns), 0.0), self._turn(text))


def words_of(text: str) -> list[str]:
    """The words of a text as they are written: a model of bytes does not know that Dog is dog."""
    return re.findall(r"[^\W_]+(?:['-][^\W_]+)*", re.sub(r"'s\b", "", text.replace("\u2019", "'")))


def vocabulary(world: World) -> set[str]:
    """Every word of the text: of the world's sentences, its principles, and what is always said around them."""
    texts = [revise.CRITIQUE_REQUEST, revise.REVISION_REQUEST, feedback.QUESTION, *feedback.OPTIONS, *ASKS]
    texts += [*speech.HELPS, *speech.OBJECTIONS, *speech.EVASIONS, *speech.DOES.values(), *speech.TOPICS.values()]
    texts += [*world.categories, *world.book["wrong"], *world.book["harmless"], *sum(world.book["again"], [])]
    texts += [*world.about, *sum(world.slots.values(), []), *(part for frame in world.frames for part in frame.parts)]
    return {word for text in texts for word in words_of(re.sub(r"{\w+}", "", text))}
