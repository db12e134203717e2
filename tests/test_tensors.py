"""Laws of masked arithmetic and of the action frame: column t speaks of token t+1."""
import itertools
import math

import pytest
import torch

import minicai.tensors as tensors

NAN = float("nan")
close = torch.testing.assert_close


def test_shift_moves_one_to_the_left_and_leaves_zero():
    assert tensors.shift(torch.tensor([[1, 2, 3], [4, 5, 6]])).tolist() == [[2, 3, 0], [5, 6, 0]]
    assert tensors.shift(torch.tensor([[True, True]])).tolist() == [[True, False]]


def test_log_probs_by_hand_over_three_tokens():
    p = torch.tensor([[[.5, .3, .2], [.1, .7, .2], [.6, .3, .1]]])
    logp = tensors.token_logp(p.log(), torch.tensor([[0, 2, 1]]))
    close(logp, torch.tensor([[math.log(.2), math.log(.7), 0]]))


def test_probabilities_of_all_sequences_sum_to_one():
    table = torch.randn(3, 3)                                   # a Markov chain: logits given the last token
    ids = torch.tensor([(1, *rest) for rest in itertools.product(range(3), repeat=3)])
    total = tensors.token_logp(table[ids], ids).sum(1).exp().sum()
    close(total, torch.tensor(1.0))


def test_temperature_divides_the_logits():
    logits = torch.tensor([.8, .2]).log().repeat(1, 2, 1)
    close(tensors.token_logp(logits, torch.tensor([[1, 0]]), 0.5)[0, 0], torch.tensor(.64 / .68).log())
    close(tensors.entropy(logits, 0.5), tensors.entropy(logits / 0.5))


def test_log_probs_are_taken_in_fp32_whatever_the_logits_are():
    logits = (torch.randn(2, 4, 61) * 5).bfloat16()
    ids = torch.randint(61, (2, 4))
    assert tensors.token_logp(logits, ids).dtype == tensors.entropy(logits).dtype == torch.float32
    close(tensors.token_logp(logits, ids), tensors.token_logp(logits.double(), ids).float())


def test_the_last_column_is_zero_and_carries_no_gradient():
    logits = torch.randn(2, 4, 7, requires_grad=True)
    logp = tensors.token_logp(logits, torch.randint(7, (2, 4)))
    assert (logp[:, -1] == 0).all() and (logp[:, :-1] != 0).all()
    logp.sum().backward()
    assert (logits.grad[:, -1] == 0).all() and (logits.grad[:, :-1] != 0).any(-1).all()


@pytest.mark.parametrize("prompt, length, columns", [
    (2, 3, [1]),                 # <end> at once: the one action is <end> itself
    (2, 5, [1, 2, 3]),           # <end> in the middle
    (2, 7, [1, 2, 3, 4, 5]),     # cut off at full width: the last column has no next token
    (1, 2, [0]),
    (6, 7, [5]),
    (3, 3, []),                  # no response at all
])
def test_actions_are_the_response_tokens_end_included_in_the_column_before(prompt, length, columns):
    ids = torch.zeros(2, 7, dtype=torch.long)
    mask = tensors.action_mask(ids, torch.tensor([prompt, 2]), torch.tensor([length, 4]))   # each row its own
    assert mask.dtype == torch.bool and mask.shape == ids.shape
    assert mask[0].nonzero()[:, 0].tolist() == columns and mask[1].nonzero()[:, 0].tolist() == [1, 2]


X = torch.tensor([[1., 2., NAN], [6., NAN, NAN]])
MASK = torch.tensor([[True, True, False], [True, False, False]])


def test_masked_sum_and_mean_by_hand_with_nan_on_the_pads():
    assert tensors.masked_sum(X, MASK).item() == 9 and tensors.masked_sum(X, MASK, 1).tolist() == [3, 6]
    assert tensors.masked_mean(X, MASK).item() == 3 and tensors.masked_mean(X, MASK, dim=1).tolist() == [1.5, 6]
    assert tensors.masked_mean(X, torch.zeros_like(MASK)).item() == 0
    assert tensors.masked_mean(X, MASK, dim=0).tolist() == [3.5, 2, 0]


def test_the_gradient_of_a_masked_mean_is_one_over_the_count_and_zero_on_pads():
    x = X.clone().requires_grad_()
    tensors.masked_mean(x, MASK).backward()
    close(x.grad, MASK / 3)


def test_whitened_has_mean_zero_and_population_variance_one_over_the_whole_batch():
    white = tensors.whiten(torch.tensor([[1., 2., NAN], [3., NAN, NAN]]), MASK)
    close(white, torch.tensor([[-1.5 ** .5, 0, 0], [1.5 ** .5, 0, 0]]))


def test_more_pads_change_nothing():
    def wider(x, fill):
        return torch.cat([x, torch.full_like(x, fill)], dim=1)
    close(tensors.masked_mean(wider(X, 100.), wider(MASK, False)), tensors.masked_mean(X, MASK))
    close(tensors.whiten(wider(X, 100.), wider(MASK, False))[:, :3], tensors.whiten(X, MASK))


def test_whitening_a_constant_or_a_single_number_gives_zeros():
    assert (tensors.whiten(torch.full((2, 3), 5.), MASK) == 0).all()
    assert (tensors.whiten(X, MASK & (X == 6)) == 0).all()
    assert (tensors.whiten(X, torch.zeros_like(MASK)) == 0).all()


def test_entropy_is_the_mean_of_minus_log_p():
    close(tensors.entropy(torch.zeros(2, 5)), torch.full((2,), math.log(5)))
    close(tensors.entropy(torch.tensor([.5, .25, .25]).log()), torch.tensor(1.5 * math.log(2)))
    assert tensors.entropy(torch.tensor([200., 0., -200.])).item() == 0
