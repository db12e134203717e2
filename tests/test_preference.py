"""Laws of the preference model: Bradley-Terry with soft labels, and scores read at the <end> of each response."""
import pytest
import torch

import minicai.preference as preference

close = torch.testing.assert_close
A, B, SOFT = torch.tensor([[1.0, -2.0, 0.5, 3.0], [0.0, 1.0, 0.5, 5.0], [0.9, 0.6, 0.3, 0.0]])
PAIRS = [("the cat", "sat on the mat."), ("a", "b"), ("42 bananas", "")]


@pytest.mark.exercise("bradley_terry", 1)
def test_the_loss_by_hand():
    loss, stats = preference.bradley_terry_loss(A, B, SOFT)
    p = 1 / (1 + (B - A).exp())
    close(loss, -(SOFT * p.log() + (1 - SOFT) * (1 - p).log()).mean())
    assert stats["loss"] == loss and stats["sure"] == 0.5 and stats["accuracy"] == 1        # sure of rows 0 and 3


@pytest.mark.exercise("bradley_terry", 1)
def test_equal_scores_cost_log_two_and_an_even_label_does_not_push_them():
    a = torch.zeros(3, requires_grad=True)
    loss, _ = preference.bradley_terry_loss(a, a.detach(), torch.tensor([.5, .5, 1.]))
    loss.backward()
    close(loss.detach(), torch.tensor(2.).log())
    close(a.grad, torch.tensor([0., 0., -.5 / 3]))


@pytest.mark.exercise("bradley_terry", 1)
def test_a_shift_of_all_scores_changes_nothing_nor_does_swapping_the_answers_with_their_label():
    plain = preference.bradley_terry_loss(A, B, SOFT)[1]
    close(preference.bradley_terry_loss(A + 7, B + 7, SOFT)[1], plain)
    close(preference.bradley_terry_loss(B, A, 1 - SOFT)[1], plain)


@pytest.mark.exercise("bradley_terry", 1)
def test_the_loss_is_never_below_the_labels_entropy_and_reaches_it_at_their_log_odds():
    loss, stats = preference.bradley_terry_loss(A, B, SOFT)
    assert loss > stats["label_entropy"] > 0
    loss, stats = preference.bradley_terry_loss(torch.logit(SOFT[:3]), torch.zeros(3), SOFT[:3])
    close(loss, stats["label_entropy"])


@pytest.mark.exercise("bradley_terry", 1)
def test_sure_labels_and_huge_differences_stay_finite():
    loss, stats = preference.bradley_terry_loss(torch.tensor([1000., 1000.]), torch.zeros(2), torch.tensor([1., 0.]))
    assert loss == 500 and stats["label_entropy"] == 0 and stats["accuracy"] == 0.5


@pytest.mark.exercise("bradley_terry", 1)
def test_a_weight_is_how_often_a_comparison_is_in_the_mean():
    weighted = preference.bradley_terry_loss(A, B, SOFT, weight=torch.tensor([2., 0., 1., 2.]))[1]
    listed = preference.bradley_terry_loss(*(x[[0, 0, 2, 3, 3]] for x in (A, B, SOFT)))[1]
    close([weighted[k] for k in ("loss", "label_entropy")], [listed[k] for k in ("loss", "label_entropy")])


def test_a_score_is_read_at_the_end_token_whoever_else_is_in_the_batch(judge, tokenizer):
    together = preference.read_scores(judge, tokenizer, PAIRS)
    rows = [tokenizer.render([("user", prompt), ("assistant", response)]) for prompt, response in PAIRS]
    alone = torch.stack([judge.read(judge.model(torch.tensor([row])))[0, -1] for row in rows])
    close(together, alone, atol=1e-5, rtol=1e-5)
    many = preference.text_scores(judge, tokenizer, *zip(*PAIRS * 50, strict=True))         # more than one batch
    close(many, alone.detach().repeat(50), atol=1e-5, rtol=1e-5)


def test_normalised_scores_have_mean_zero_and_deviation_one_and_doing_it_again_changes_nothing(judge, tokenizer):
    raw = preference.text_scores(judge, tokenizer, *zip(*PAIRS, strict=True))
    for _ in range(2):
        preference.normalise(judge, preference.text_scores(judge, tokenizer, *zip(*PAIRS, strict=True)))
        scores = preference.text_scores(judge, tokenizer, *zip(*PAIRS, strict=True))
        close(scores, (raw - raw.mean()) / raw.std(), atol=1e-5, rtol=1e-5)
