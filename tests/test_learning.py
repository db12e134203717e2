"""Laws of learning and keeping: an update is whole or does not happen, and so is a folder of weights."""
import json
import math
import random
from base64 import b64encode
from contextlib import nullcontext
from types import SimpleNamespace

import pytest
import torch
from fakes import close, table, tiny, write

from minicai import UserError, checkpoint, finetune, optimise, rollout, run, tensors
from minicai import model as models

OTHER = "\n".join(f"{b64encode(bytes([i])).decode()} {i}" for i in range(256))               # another vocabulary
TURNS = [("user", "the cat"), ("assistant", "sat"), ("user", "a mat"), ("assistant", "banana")]


def knob():
    weight = torch.nn.Parameter(torch.ones(1))                                              # a step is worked by hand
    return weight, [torch.optim.SGD([weight], lr=0.1)]


@pytest.mark.parametrize("loss", [lambda w: w.sum() * math.nan, lambda w: w.sum() / 0,      # not finite itself
                                  lambda w: (w - 1).sqrt().sum()])                          # finite, its slope is not
def test_a_loss_or_gradient_that_is_not_finite_stops_and_leaves_the_weights(loss):
    weight, optimisers = knob()
    with pytest.raises(optimise.Diverged):
        optimise.update(loss(weight), optimisers)
    assert weight.item() == 1
    optimise.update(weight.sum() / 2, optimisers)                                           # nothing of it stays behind
    close(weight.item(), 0.95, atol=1e-6, rtol=0)


def test_gradients_are_clipped_by_their_norm_over_all_optimisers_and_scales_do_not_compound():
    (a, first), (b, second) = knob(), knob()
    for scale in (0.5, 0.5, 1.0):                                                           # of the first learning rate
        close(optimise.update(3 * a.sum() + 4 * b.sum(), first + second, scale=scale, max_norm=1.0), 5.0)
    close((a.item(), b.item()), (1 - 0.1 * 2 * 0.6, 1 - 0.1 * 2 * 0.8), atol=1e-6, rtol=0)


@pytest.mark.exercise("response_example", 2)
def test_only_the_last_turn_and_its_end_are_learned(tokenizer):
    ids, weight = finetune.response_example(tokenizer, TURNS)
    learned = tokenizer.encode("banana") + [tokenizer.end]
    assert ids == tokenizer.render(TURNS) and ids[-len(learned):] == learned
    assert weight == [0.0] * (len(ids) - len(learned)) + [1.0] * len(learned)


def test_the_loss_is_the_weighted_mean_over_full_logits_and_the_sum_of_its_parts(model):
    ids, weight = torch.randint(61, (3, 7)), torch.rand(3, 7) * (torch.rand(3, 7) > 0.4)
    logp, w = model(ids)[:, :-1].log_softmax(-1).gather(-1, ids[:, 1:, None])[..., 0], weight[:, 1:]
    loss = finetune.sequence_loss(model, ids, weight)
    close(loss, -(w * logp).sum() / w.sum())
    parts = torch.stack([finetune.sequence_loss(model, ids[i:i + 1], weight[i:i + 1]) for i in range(3)])
    close((w.sum(1) / w.sum() * parts).sum(), loss)                                         # gradient accumulation


@pytest.mark.parametrize("rows, cells", [(1, 2 ** 25), (2, 2 ** 25), (2 ** 30, 1), (4, 1)])
def test_micro_batches_and_slices_of_the_vocabulary_change_neither_value_nor_gradient(
        speaker, judge, rows, cells, monkeypatch):
    ids, weight = torch.randint(61, (5, 63)), torch.rand(5, 63)                             # 5 * 62 > a slice of 256
    mask = tensors.action_mask(ids, torch.full([5], 2), torch.arange(59, 64))

    def work():
        new = rollout.look(speaker, judge, ids, mask, 0.7)                                  # two heads on one trunk
        loss = finetune.sequence_loss(speaker, ids, weight) + (new.logp * new.entropy - new.value).square().mean()
        return [loss.detach(), new.logp.detach(), *torch.autograd.grad(loss, [*speaker.parameters()])]
    whole, calls = work(), []
    monkeypatch.setattr(judge.model, "micro_batch", rows)
    monkeypatch.setattr("minicai.model.CELLS", cells)
    monkeypatch.setattr(tensors, "checkpoint", lambda f, *x, part=tensors.checkpoint, **k: calls.append(1) or part(
        f, *x, **k))
    close(work(), whole, rtol=1e-4, atol=1e-5)
    assert calls


def test_what_training_needs_is_counted_to_the_byte_and_refused_where_it_cannot_fit(judge, monkeypatch):
    said, frozen, shape = [], tiny(), judge.config
    need = 16 * sum(p.numel() for p in judge.parameters()) + 4 * 2 * sum(p.numel() for p in frozen.parameters())
    need += 3 * 10 * 68 * shape.num_hidden_layers * shape.hidden_size + 12 * models.CELLS
    for there in (need, need - 1):
        monkeypatch.setattr(run.os, "sysconf", lambda name, there=there: there if "PHYS" in name else 1)
        with pytest.raises(UserError, match="lower --micro-batch") if there < need else nullcontext():
            run.fit_memory(SimpleNamespace(say=said.append), [judge, judge], [frozen] * 2, 3, length=10)
    assert judge.model.micro_batch == 3 and len(said) == 1 and f"{need / 1e9:.1f} GB" in said[0]


@pytest.mark.exercise("response_example", 1)
def test_finetuning_learns_a_tiny_set_at_a_rate_that_rises_and_falls_to_nothing(speaker, tokenizer, monkeypatch):
    examples, scales = [finetune.response_example(tokenizer, turns) for turns in (TURNS[:2], TURNS[2:])], []
    monkeypatch.setattr(optimise, "update", lambda *x, f=optimise.update, **k: scales.append(k["scale"]) or f(*x, **k))
    losses = [stats["loss"] for stats in finetune.finetune(
        speaker, examples, epochs=40, lr=5e-3, batch=1, rng=random.Random(0))]
    assert len(losses) == 80 and min(losses[:2]) > 2 and max(losses[-2:]) < 0.1
    assert [scales[i] for i in (0, 9, 40, 79)] == pytest.approx([.1, 71 / 80, .5, 1 / 80]) and max(scales) == scales[9]


def test_a_folder_appears_whole_and_replaces_the_old_one(tmp_path):
    final = tmp_path / "deep" / "sl"
    for text in "12":
        with checkpoint.whole_folder(final) as folder:
            (folder / text).write_text(text)
            assert [p.name for p in final.glob("[12]")] == ["1"] * (text == "2")           # the old stays until then
    assert [p.name for p in final.glob("[12]")] == ["2"] and list(final.parent.iterdir()) == [final]


@pytest.mark.parametrize("old", ["sl", ".sl.old"])         # the second: killed between the two renamings, it comes back
@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_work_cut_short_leaves_nothing_new_and_the_old_as_it_was_under_its_name(tmp_path, error, old):
    write(tmp_path, {f"{old}/whole": ""})
    for name in ("sl", "rm"):
        with pytest.raises(error), checkpoint.whole_folder(tmp_path / name) as folder:
            (folder / "weights").write_text("half")
            raise error
    assert [p.name for p in tmp_path.rglob("*")] == ["sl", "whole"]


def test_what_a_crash_left_behind_does_not_stop_the_next_run(tmp_path):
    write(tmp_path, {f"{name}/crashed": "" for name in ("sl", ".sl.old", ".sl.part")})      # killed amid the renaming
    with checkpoint.whole_folder(tmp_path / "sl") as folder:
        (folder / "new").write_text("")
    assert {p.name for p in (tmp_path / "sl").iterdir()} == {"new", checkpoint.MANIFEST}


@pytest.mark.parametrize("scalar", [False, True])
def test_a_loaded_model_is_bitwise_the_saved_one_and_speaks_its_language(tmp_path, speaker, judge, tokenizer, scalar):
    judge.mean += 3
    (saved, other), ids = (judge, speaker) if scalar else (speaker, judge), torch.tensor([tokenizer.render(TURNS)])
    checkpoint.save_model(tmp_path, saved, tokenizer, {"lr": 0.1})
    loaded, again = checkpoint.load_model(tmp_path, type(saved))
    said, says = ((m.read if scalar else m.logits)(m.model(ids)) for m in (saved, loaded))
    assert torch.equal(said, says) and again.ranks == tokenizer.ranks and again.render(TURNS) == tokenizer.render(TURNS)
    assert not loaded.training and json.loads((tmp_path / checkpoint.CONFIG).read_text())["training"] == {"lr": 0.1}
    with pytest.raises(UserError, match="no (Language|Scalar)Model"):
        checkpoint.load_model(tmp_path, type(other))


@pytest.mark.parametrize("row", [*table("bad_input")["folders"], dict(file="tokenizer.bpe", holds=OTHER)])
def test_a_folder_without_a_model_is_refused_in_one_line_that_names_it(tmp_path, speaker, tokenizer, row):
    checkpoint.save_model(tmp_path, speaker, tokenizer, {})
    (tmp_path / row["file"]).unlink()
    write(tmp_path, {row["file"]: row["holds"]} if "holds" in row else {})
    with pytest.raises(UserError) as refusal:
        checkpoint.load_model(tmp_path)
    assert str(tmp_path) in str(refusal.value) and "\n" not in str(refusal.value)
