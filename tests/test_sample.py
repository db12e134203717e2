"""Laws of sampling: what is drawn follows the policy softmax(logits / T), what is reported is its log-probability."""
from inspect import getclosurevars

import pytest
import torch
from fakes import close, tiny, token_logp

from minicai import sample, tokens

PROMPTS = [[1, 2, 3], [4], [5, 6, 7, 8, 9, 10, 11], [4, 12]]
STOPS = set(range(20, 40, 2))


def draw(model, prompts=PROMPTS, seed=0, **options):
    options = dict(max_new=12, stops=STOPS, generator=torch.Generator().manual_seed(seed)) | options
    return sample.generate(model, prompts, **options)


def test_the_same_generator_says_the_same_and_another_something_else(model):
    assert draw(model) == draw(model) != draw(model, seed=1)


@pytest.mark.parametrize("batch", [1, 2, 256])
@pytest.mark.exercise("choose", 1)
def test_temperature_zero_says_the_likeliest_of_each_prompt_alone_and_leaves_the_generator_as_it_was(model, batch):
    generator, another = torch.Generator(), torch.Generator()                    # alike
    for prompt, reply in zip(PROMPTS, draw(model, temperature=0, batch=batch, generator=generator)[0], strict=True):
        assert model(torch.tensor([prompt + reply])).argmax(-1)[0, len(prompt) - 1:-1].tolist() == reply
    assert torch.equal(generator.get_state(), another.get_state())


@pytest.mark.parametrize("temperature", [1.0, 0.5])
@pytest.mark.exercise("choose", 1)
def test_log_probs_seen_while_sampling_are_those_recomputed_by_teacher_forcing(model, temperature):
    prompts = PROMPTS * 20                                       # so many that those who have stopped leave the batch
    replies, logps = draw(model, prompts, temperature=temperature)
    ids = tokens.pad([p + r for p, r in zip(prompts, replies, strict=True)], 0)
    again = token_logp(model(ids), ids, temperature)
    for row, prompt, reply, logp in zip(again, prompts, replies, logps, strict=True):
        close(row[len(prompt) - 1:len(prompt) + len(reply) - 1], torch.tensor(logp), atol=1e-5, rtol=0)


def test_a_reply_ends_with_its_first_stop_or_at_max_new_and_leaves_the_others_unchanged(model):
    (free, _), (replies, logps) = draw(model, PROMPTS * 20, stops={60}), draw(model, PROMPTS * 20, stops=STOPS | {60})
    for reply, logp, long in zip(replies, logps, free, strict=True):
        assert len(reply) == len(logp) and not STOPS.intersection(reply[:-1]) and reply == long[:len(reply)]
        assert reply[-1] in STOPS | {60} or len(reply) == 12
    assert {1, 2, 3, 12} <= set(map(len, replies)) and sum(len(reply) < 12 for reply in replies) > 48
    assert [len(r) for r in draw(model, max_new=1)[0]] == [1] * 4 and draw(model, []) == ([], [])


@pytest.mark.exercise("choose", 1)
def test_drawn_at_half_the_temperature_tokens_are_as_frequent_as_their_log_probs_say(model):
    n, prompt = 4000, [5, 9]
    replies, logps = draw(model, [prompt] * n, max_new=1, temperature=0.5)
    p = (model(torch.tensor([prompt]))[0, -1] / 0.5).softmax(0).detach()
    drawn = torch.tensor(replies)[:, 0]
    assert ((drawn.bincount(minlength=61) - n * p).abs() <= 4 * (n * p * (1 - p)).sqrt() + 1).all() and p.max() < 0.9
    close(torch.tensor(logps).exp()[:, 0], p[drawn])


@pytest.mark.parametrize("top_p, temperature, expected", [
    (1.0, 1.0, [.5, .1, .4]), (1.0, 0.5, [25 / 42, 1 / 42, 16 / 42]), (0.8, 1.0, [5 / 9, 0, 4 / 9]),
    (0.6, 1.0, [5 / 9, 0, 4 / 9]), (0.45, 1.0, [1., 0, 0]), (1e-9, 1.0, [1., 0, 0])])
@pytest.mark.exercise("choose", 2)
def test_over_an_even_grid_of_u_each_token_comes_as_often_as_its_renormalised_probability(top_p, temperature, expected):
    n, p, expected = 5000, torch.tensor([0, .5, .1, .4, 0]), torch.tensor([0, *expected, 0])
    token, logp = sample.choose(p.log().repeat(n, 1), torch.arange(n) / n, temperature, top_p)     # from u = 0 on
    close(torch.bincount(token, minlength=5) / n, expected, atol=2 / n, rtol=0)
    close(logp.exp(), expected[token])
    assert torch.isfinite(logp).all()                                            # nothing impossible was drawn


def recorder(count):
    """`captured` without a GPU: as there, the step is done twice at first, and what it reads must stay where it is."""
    def record(step):
        cache = getclosurevars(getclosurevars(step).nonlocals["step"]).nonlocals["cache"]
        count.append((step(), step()))
        kept = [cache.position.data_ptr(), cache.layers[0][0].data_ptr()]
        return lambda: step() if kept == [cache.position.data_ptr(), cache.layers[0][0].data_ptr()] else None
    return record


@pytest.mark.parametrize("options", [{}, {"temperature": 0}, {"stops": {60}, "max_new": 37}])
def test_steps_replayed_in_buckets_say_what_plain_steps_say(model, monkeypatch, options):
    prompts = [*PROMPTS * 9, list(range(1, 17))]                     # one as wide as the batch: it needs its last slot
    plain, count = draw(model, prompts, **options), []
    monkeypatch.setattr(sample, "REPLAYED", ("cpu",))
    monkeypatch.setattr(sample, "captured", recorder(count))
    monkeypatch.setattr(sample, "BUCKET", 8)
    tokens, logps = draw(model, prompts, **options)
    assert tokens == plain[0] and len(count) == (5 if "stops" in options else 2)     # slots 17..27 or 17..52, by 8
    for ours, theirs in zip(logps, plain[1], strict=True):
        close(torch.tensor(ours), torch.tensor(theirs), atol=1e-5, rtol=0)


def test_what_is_replayed_goes_on_for_all_rows_until_a_look_every_sixteen_steps(model, monkeypatch):
    steps = []
    monkeypatch.setattr(sample, "REPLAYED", ("cpu",))
    monkeypatch.setattr(sample, "replayed", lambda step, rows, device: lambda token, seen: (
        steps.append(len(token)) or step(token, seen)))
    draw(model, stops=set(range(61)), max_new=40)
    draw(model, stops={60}, max_new=3)
    assert steps == [4] * 15 + [4] * 2


@pytest.mark.parametrize("switches", [{}, {"tie_word_embeddings": False, "attention_bias": True}])
def test_stored_in_bf16_the_model_says_exactly_what_autocast_makes_of_it(switches):
    model = tiny(dtype="bfloat16", **switches)
    twin, ids = sample.lowered(model), torch.randint(61, (3, 9))
    assert torch.equal(twin(ids), model(ids)) and twin.lm_head.weight.dtype == torch.bfloat16
    assert model.lm_head.weight.dtype == torch.float32 and twin.model.norm.weight is model.model.norm.weight
    assert {p.dtype for p in model.parameters()} == {torch.float32}


@pytest.mark.cuda
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_on_a_gpu_replayed_steps_say_what_plain_steps_say(dtype, monkeypatch):
    model, prompts = tiny(dtype=dtype).cuda(), PROMPTS * 16

    def said():
        return draw(model, prompts, max_new=150, stops={60}, generator=torch.Generator("cuda").manual_seed(3))
    (tokens, logps), again = said(), said()                                # more than one bucket of 128
    assert (tokens, logps) == again
    monkeypatch.setattr(sample, "REPLAYED", ())
    plain, _ = said()
    same = sum(a == b for ours, theirs in zip(tokens, plain, strict=True) for a, b in zip(ours, theirs, strict=False))
    assert same >= 0.9 * sum(map(len, plain)) or dtype == "bfloat16"       # in bf16 a rounding may turn a draw
    for prompt, reply, logp in zip(prompts, tokens, logps, strict=True):
        ids = torch.tensor([prompt + reply], device="cuda")
        again = token_logp(model(ids), ids)[0, len(prompt) - 1:-1]
        close(again, torch.tensor(logp, device="cuda"), atol=1e-4 if dtype == "float32" else 0.15, rtol=0)
