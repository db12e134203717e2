"""Laws of masked arithmetic and of the action frame: column t speaks of token t+1."""
import pytest
import torch
import torch.nn.functional as F

import minicai.tensors as tensors

close = torch.testing.assert_close
X = torch.tensor([[1., 2., torch.nan], [6., torch.nan, torch.nan]])
MASK = torch.tensor([[True, True, False], [True, False, False]])


def test_shift_moves_one_to_the_left_and_leaves_zero():
    assert tensors.shift(torch.tensor([[1, 2, 3], [4, 5, 6]])).tolist() == [[2, 3, 0], [5, 6, 0]]


@pytest.mark.exercise("target_logp", 1)
def test_log_probs_by_hand_over_three_tokens():
    p = torch.tensor([[[.5, .3, .2], [.1, .7, .2], [.6, .3, .1]]])
    close(tensors.target_logp(p.log(), torch.tensor([[2, 1, 0]])), torch.tensor([[.2, .7, .6]]).log())


@pytest.mark.exercise("target_logp", 1)
def test_entropy_is_the_mean_of_minus_log_p_and_temperature_divides_the_logits():
    close(tensors.entropy(torch.tensor([.5, .25, .25]).log()), 1.5 * torch.tensor(2.).log())
    logits = torch.tensor([[[.8, .2], [.5, .5]]]).log()
    close(tensors.target_logp(logits, torch.tensor([[0, 1]]), 0.5), torch.tensor([[.64 / .68, .5]]).log())
    close(tensors.entropy(logits, 0.5), tensors.entropy(2 * logits))


@pytest.mark.exercise("target_logp", 1)
def test_log_probs_and_entropies_are_taken_in_fp32_whatever_the_logits_are():
    logits, ids = (torch.randn(2, 4, 61) * 5).bfloat16(), torch.randint(61, (2, 4))
    close(tensors.target_logp(logits, ids), tensors.target_logp(logits.float(), ids))
    close(tensors.entropy(logits), tensors.entropy(logits.float()))


@pytest.mark.parametrize("prompt, length, columns", [
    (2, 3, [1]),                 # <end> at once: the one action is <end> itself
    (2, 5, [1, 2, 3]),           # <end> in the middle
    (2, 7, [1, 2, 3, 4, 5]),     # cut off at full width: the last column has no next token
    (3, 3, [])])                 # no response at all
@pytest.mark.exercise("action_mask", 3)
def test_actions_are_the_response_tokens_end_included_in_the_column_before(prompt, length, columns):
    ids = torch.zeros(2, 7, dtype=torch.long)                        # and each row has its own
    mask = tensors.action_mask(ids, torch.tensor([prompt, 1]), torch.tensor([length, 3]))
    assert mask.dtype == torch.bool and mask.shape == ids.shape
    assert mask[0].nonzero()[:, 0].tolist() == columns and mask[1].nonzero()[:, 0].tolist() == [0, 1]


@pytest.mark.exercise("masked_mean", 2)
def test_masked_sum_and_mean_by_hand_with_nan_on_the_pads():
    assert tensors.masked_sum(X, MASK).item() == 9 and tensors.masked_sum(X, MASK, 1).tolist() == [3, 6]
    assert tensors.masked_mean(X, MASK).item() == 3 and tensors.masked_mean(X, MASK, dim=1).tolist() == [1.5, 6]
    assert tensors.masked_mean(X, MASK, dim=0).tolist() == [3.5, 2, 0]
    x = X.clone().requires_grad_()
    tensors.masked_mean(x, MASK).backward()
    close(x.grad, MASK / 3)


@pytest.mark.exercise("whiten", 2)
def test_whitened_has_mean_zero_and_population_variance_one_over_the_whole_batch_whatever_the_pads():
    for width in (0, 3):
        x, mask = F.pad(X.minimum(torch.tensor(3.)), (0, width), value=100.), F.pad(MASK, (0, width))
        close(tensors.whiten(x, mask)[:, :3], torch.tensor([[-1.5 ** .5, 0, 0], [1.5 ** .5, 0, 0]]))


@pytest.mark.exercise("masked_mean", 1)
@pytest.mark.exercise("whiten", 1)
def test_the_mean_of_nothing_is_zero_and_a_whitened_constant_or_single_number_too():
    assert tensors.masked_mean(X, torch.zeros_like(MASK)) == 0
    assert (tensors.whiten(torch.full((2, 3), 5.), MASK) == 0).all() and (tensors.whiten(X, X == 6) == 0).all()
