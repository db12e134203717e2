"""Laws of evaluation without gold: what a judge of known taste must find."""
import test_feedback as feedback
import torch
from fakes import close

from minicai.tools import judge

TASTE = feedback.judge(bias=0.3)                           # log-odds a - b, and a liking for (A)


def test_wins_are_mean_probabilities_and_elo_follows_from_them():
    answers = {"x": ["fine", "no", "well"], "y": ["no", "no", "well"], "z": ["well", "fine", "no"]}
    found = judge.contest(TASTE, ["1?", "2?", "3?"], answers, "Be kind.", resamples=40)
    worth = torch.tensor([[feedback.WORTH[text] for text in some] for some in answers.values()])   # (models, questions)
    p = torch.sigmoid(worth[:, None] - worth)
    close(found["wins"], {f"{a} over {b}": round(p["xyz".index(a), "xyz".index(b)].mean().item(), 3)
                          for a, b in ("xy", "xz", "yz")})
    for k, (name, (rating, low, high)) in enumerate(found["elo"].items()):
        close(rating, judge.elo(p.sum(-1))[k].item(), atol=0.1, rtol=0)
        assert name == "xyz"[k] and low < rating < high


def test_a_judge_is_tested_against_what_is_known_to_be_better():
    rows = [("?", "fine", "no"), ("?", "well", "no"), ("?", "no", "fine"), ("?", "no", "no")]
    found = judge.tested(TASTE, rows)
    assert found["questions"] == 4 and found["accuracy"] == 2.5 / 4
    said = torch.tensor([1 / (1 + 2.718281828 ** -x) for x in (2.5, -1, -2.5, 0)])      # odd rows stand the other way
    assert [row["pairs"] for row in found["calibration"]] == [1, 1, 1, 1]
    for row, p, first in zip(found["calibration"], said.sort().values, (1, 0, 0, 1), strict=True):
        close((row["predicted"], row["label"]), (p.item(), float(first)), atol=1e-4, rtol=0)


def test_elo_of_two_is_the_log_odds_of_their_games_and_ten_to_one_is_400_points():
    games = torch.tensor([[0., 99.5], [9.5, 0.]])                   # and the drawn one: 100 to 10
    close(judge.elo(games), torch.tensor([200., -200.], dtype=torch.float64))
    close(judge.elo(torch.zeros(3, 3)), torch.zeros(3, dtype=torch.float64))


def test_elo_makes_the_expected_wins_the_seen_ones_however_the_players_are_listed():
    games, order = torch.tensor([[0., 8, 3, 1], [2, 0, 5, 0], [7, 5, 0, 9], [1, 10, 1, 0]]), [2, 0, 3, 1]
    rating = judge.elo(games)
    chance = 1 / (1 + 10 ** ((rating - rating[:, None]) / 400))
    seen, played = games + 0.5 * (1 - torch.eye(4)), games + games.T + 1 - torch.eye(4)
    close((chance * played).fill_diagonal_(0).sum(1), seen.fill_diagonal_(0).sum(1).double())
    close(judge.elo(torch.stack([games[order][:, order], games.T])), torch.stack([rating[order], -rating]))
    assert rating.argmax() == 2 and abs(rating.sum()) < 1e-6
