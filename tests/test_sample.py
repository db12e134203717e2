"""Laws of sampling: what is drawn follows the policy softmax(logits / T), what is reported is its log-probability."""
import pytest
import torch
from fakes import close, token_logp

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
