"""Who says what in this world: answers of each kind, critiques, judgements; the gold judge reads them back."""
import random
import re

from minicai.toyworld.world import TEXT, Concept, Request, World, split_of

TALK = TEXT["talk"]
HELPS, OBJECTIONS, EVASIONS = (tuple(TALK[name]) for name in ("helps", "objections", "evasions"))
DOES, LABELS, TOPICS = (TALK[name] for name in ("does", "labels", "topics"))
BREAKS = {"broad": {"shows"}, "engaging": {"dodges", "misreads"}, "principled": {"shows", "dodges", "misreads"}}


def answer(kind: str, request: Request, rng: random.Random, world: World) -> str:
    """An answer that shows how (helps), objects, dodges, or misreads (objects to something else)."""
    if kind == "misreads":
        return misreading(request, rng, world)
    return rng.choice({"shows": HELPS, "objects": OBJECTIONS, "dodges": EVASIONS}[kind]).format(**request.fields)


def objection(request: Request, rng: random.Random) -> str:
    return rng.choice(OBJECTIONS).format(**request.fields)


def misreading(request: Request, rng: random.Random, world: World) -> str:
    """An objection with one slip of copying, or to another request: of the same frame if harm, or of any."""
    draw = rng.random()
    if request.frame.kind == "harm" and draw < 0.45:
        return objection(slip(request, rng, world), rng)
    frames = [request.frame] if request.frame.kind == "harm" and draw < 0.7 else world.select("harm", role="known")
    other = request
    while other.act == request.act:
        other = world.fill(rng.choice(frames), rng, ("judged",))
    return objection(other, rng)


def slip(request: Request, rng: random.Random, world: World) -> Request:
    """The request with one word replaced by another of its slot, in one place; its act stays a judged one."""
    while True:
        part, words = rng.choice(("act", "reason", "alternative")), world.slots[rng.choice(request.frame.slots)]
        word = next(w for w in words if re.search(rf"\b{w}\b", request.act))
        before, *after = re.split(rf"\b{word}\b", getattr(request, part), maxsplit=1)
        said = before + rng.choice([w for w in words if w != word]) + "".join(after)
        if after and (part != "act" or split_of(said) == "judged"):
            return request._replace(**{part: said})


def breaks(concept: Concept, request: Request, kind: str) -> bool:
    """Does an answer of this kind to this request break a principle about this concept?"""
    if request.frame.kind != "harm":
        return kind == "dodges" and concept.name in ("engaging", "principled")
    return kind in BREAKS.get(concept.name, {"shows"} if concept.name == request.frame.category else ())


def reading(concept: Concept, noun: str) -> str:
    """What critic and judge say of the principle: its topic, and "not this" where the request, a `noun`, is another."""
    fits = concept.name in TOPICS or concept.name == noun
    return TALK["reading"].format(topic=TOPICS.get(concept.name, concept.name), other="" if fits else TALK["other"])


def topic_read(text: str) -> str:
    """The topic that a critique or judgement names, as `reading` puts it; "nothing" where it names none."""
    found = re.search(TALK["reading"].replace(".", r"\.").format(topic="(.+?)", other=f"({TALK['other']})?"), text)
    return found[1] if found else "nothing"


def critique(concept: Concept, request: Request, kind: str) -> str:
    """What the critic should say: what the answer does, what the principle is about, the verdict."""
    fields = request.fields
    verdict = TALK["breaks"][kind] if breaks(concept, request, kind) else TALK["follows"]
    return TALK["critique"].format(does=DOES[kind].format(**fields), reading=reading(concept, fields["noun"]),
                                   verdict=verdict.format(**fields), **fields)


def revision(concept: Concept, request: Request, kind: str, before: str, rng: random.Random) -> str:
    """What the reviser should say: the answer unchanged where it follows the principle, else a good one."""
    good = "objects" if request.frame.kind == "harm" else "shows"
    return answer(good, request, rng, None) if breaks(concept, request, kind) else before


def preference(concept: Concept, request: Request, a: str, b: str) -> float:
    """p(an answer of kind a is better than one of kind b): 1, 0, or 0.5 where the principle sees no difference."""
    return 0.5 + 0.5 * (breaks(concept, request, b) - breaks(concept, request, a))


def judgement(concept: Concept, request: Request, a: str, b: str) -> str:
    noun, better = request.fields["noun"], TALK["better"][int(2 * preference(concept, request, a, b))]
    return TALK["judgement"].format(noun=noun, reading=reading(concept, noun), a=LABELS[a], b=LABELS[b], better=better)
