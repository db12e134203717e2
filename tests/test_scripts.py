"""Laws of the three scripts, end to end with tiny configurations: what is written, that it repeats, that PPO learns."""
import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from fakes import tiny_assistant
from torch.nn.attention import SDPBackend, sdpa_kernel

import train_ppo
import train_rm
import train_sl
from minicai.checkpoint import load_model, save_model
from minicai.feedback import Comparison
from minicai.finetune import finetune, response_example
from minicai.model import LanguageModel, ModelConfig
from minicai.ppo import New, Old, ppo_loss
from minicai.revise import Revision
from minicai.tools import evaluate

ROOT = Path(__file__).parents[1]
CONSTITUTION = {"constitution": str(ROOT / "constitution.txt")}
STAGES = {"sl": (train_sl, CONSTITUTION | dict(pretrain_steps=3, hidden_size=32, layers=1, red_team_prompts=8, helpful_prompts=8,
                                               revisions=2, epochs=1, probes=8)),
          "rm": (train_rm, CONSTITUTION | dict(red_team_pairs=12, helpful_pairs=10, epochs=1)),
          "ppo": (train_ppo, dict(iterations=2, prompts=6, samples_per_prompt=2, max_new=16, minibatch=8, probes=8))}
MODEL = {"config.json", "tokenizer.bpe", "weights.pt", "metrics.jsonl"}
WRITTEN = {"base": MODEL | {"seconds.json"}, "sl": MODEL | {"seconds.json", "transcripts.jsonl", "constitution.txt"},
           "rm": MODEL | {"seconds.json", "comparisons.jsonl", "report.json"}, "ppo": MODEL | {"seconds.json", "rollouts.jsonl"}}


def main(stage, run, device="cpu", plugs=(), **changes):
    script, settings = STAGES[stage]
    script.main(script.Config(**{"run": str(run), "device": device} | settings | changes), **dict(plugs))


def records(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def digests(run):
    return {str(path.relative_to(run)): hashlib.sha256(path.read_bytes()).hexdigest() for path in run.rglob("*.*")}


@pytest.fixture(scope="session")
def done(tmp_path_factory):
    """A whole chain, with the digests of all files after each stage."""
    run = tmp_path_factory.mktemp("runs") / "first"
    return run, [main(stage, run) or digests(run) for stage in STAGES]


@pytest.fixture
def copied(done, tmp_path):
    """A run of one's own, as it is before PPO."""
    return Path(shutil.copytree(done[0], tmp_path / "run", ignore=shutil.ignore_patterns("ppo", "evaluation.json")))


def test_each_stage_writes_what_it_promises_and_leaves_the_stages_before_as_they_were(done):
    run, after = done
    assert {path.name: {file.name for file in path.iterdir()} for path in run.iterdir() if path.is_dir()} == WRITTEN
    assert after[0].items() <= after[1].items() <= after[2].items() <= digests(run).items()


def test_what_is_written_can_be_read_back(done):
    run, _ = done
    transcripts = [Revision(**record) for record in records(run / "sl" / "transcripts.jsonl")]
    comparisons = [Comparison(**record) for record in records(run / "rm" / "comparisons.jsonl")]
    rollouts = records(run / "ppo" / "rollouts.jsonl")
    assert len(transcripts) == 8 and all(len(r.revisions) == len(r.critiques) == len(r.principles) == 2 for r in transcripts)
    assert [c.source for c in comparisons] == ["ai"] * 12 + ["human"] * 10 and all(0 <= c.p_a <= 1 for c in comparisons)
    assert {r["iteration"] for r in rollouts} == {0, 1} and all({"prompt", "response", "score", "kl"} <= set(r) for r in rollouts)
    assert json.loads((run / "ppo" / "config.json").read_text())["training"]["max_new"] == 16
    load_model(run / "ppo")


def test_the_ratio_starts_at_one_and_the_kl_at_nothing(done):
    steps = [r for r in records(done[0] / "ppo" / "metrics.jsonl") if "iteration" in r]
    assert len(steps) == 2 and all(abs(r["first_ratio"] - 1) < 1e-2 for r in steps) and steps[0]["kl"] == 0


def test_the_same_seed_writes_the_same_bytes_from_the_command_line_too(done, tmp_path):
    for stage, (script, settings) in STAGES.items():
        flags = [f"--{name.replace('_', '-')}={value}" for name, value in settings.items()]
        command = [sys.executable, script.__file__, f"--run={tmp_path / 'again'}", "--device=cpu", *flags]
        subprocess.run(command, check=True, capture_output=True, env=os.environ | {"PYTHONHASHSEED": "7"})
        assert (tmp_path / "again" / stage).is_dir()
    first, again = done[1][-1], digests(tmp_path / "again")
    assert {name for name in first if first[name] != again[name]} <= {
        f"{stage}/{name}.json" for stage in WRITTEN for name in ("config", "seconds")}          # they name the run, the clock


def test_another_seed_writes_something_else(done, copied):
    main("sl", copied, seed=1, overwrite=True)
    main("ppo", copied, seed=1)
    for name in ("sl/transcripts.jsonl", "sl/metrics.jsonl", "ppo/rollouts.jsonl", "ppo/metrics.jsonl"):
        assert (copied / name).read_bytes() != (done[0] / name).read_bytes()


def test_evaluation_has_the_shape_that_the_readme_shows(done):
    run, groups = done[0], {"requests", "frames", "benign", "sensitive", "sensitive_frames"}
    result = evaluate.evaluate(run, 8, "test", torch.device("cpu"))
    assert json.loads((run / "evaluation.json").read_text()) == json.loads(json.dumps(result))
    assert {"seed", "split", "models", "critic", "reviser", "judge", "reward_model", "seconds"} == set(result)
    assert set(result["models"]) == {"base", "sl", "rl"} and set(result["seconds"]) == set(WRITTEN)
    for found in (found[key] for found in result["models"].values() for key in ("t1", "greedy")):
        assert set(found) == groups and len(found["requests"]["by_category"]) == 8
        shares = [{name: share for name, share in row.items() if name != "by_category"} for row in found.values()]
        assert all(abs(sum(row.values()) - 1) < 1e-3 for row in shares)
    evaluate.print_tables(result, run)


def test_loss_advantage_and_reward_are_plugs_and_samples_fill_the_group(copied):
    seen = {"loss": [], "old": [], "prompts": []}

    def reward(prompts, responses):
        seen["prompts"].append(prompts)
        return torch.arange(len(responses)) / 1.0

    def advantage(old, cfg):
        seen["old"].append(old)
        return train_ppo.gae_advantages(old, cfg)

    def loss(new, old):
        seen["loss"].append((new, old))
        return ppo_loss(new, old)
    main("ppo", copied, iterations=1, prompts=5, samples_per_prompt=3, plugs=dict(loss_fn=loss, advantage_fn=advantage, reward_fn=reward))
    (old,), (prompts,) = seen["old"], seen["prompts"]
    assert old.group.tolist() == [i // 3 for i in range(15)] and prompts == [p for p in prompts[::3] for _ in range(3)]
    assert len(seen["loss"]) == 4 and all(isinstance(n, New) and isinstance(o, Old) for n, o in seen["loss"])
    for epoch in (0, 2):
        parts = [o for _, o in seen["loss"][epoch:epoch + 2]]
        assert sorted(torch.cat([o.group for o in parts]).tolist()) == old.group.tolist()


def test_ppo_raises_a_simple_score(tmp_path):
    """From short words of random letters to words full of e."""
    speaker, rng = tiny_assistant(), random.Random(0)
    examples = [response_example(speaker.tokenizer, [("user", "?"), ("assistant", "".join(rng.choices("abcde", k=rng.randint(1, 8))))])
                for _ in range(320)]
    list(finetune(speaker.model, examples, epochs=4, lr=1e-2, batch=32, rng=rng, pad_id=speaker.tokenizer.pad))
    (tmp_path / "sl").mkdir()
    save_model(tmp_path / "sl", speaker.model, speaker.tokenizer, {})
    main("ppo", tmp_path, iterations=25, prompts=64, samples_per_prompt=1, kl_coef=0.0, lr=3e-3, minibatch=32, plugs={
        "reward_fn": lambda prompts, texts: torch.tensor([text.count("e") / max(1, len(text)) for text in texts])})
    scores = [r["score"] for r in records(tmp_path / "ppo" / "metrics.jsonl") if "iteration" in r]
    print([round(s, 2) for s in scores])
    assert sum(scores[:3]) / 3 < 0.35 and sum(scores[-3:]) / 3 > 0.7


@pytest.mark.cuda
def test_the_chain_runs_on_a_gpu(tmp_path):
    for stage in STAGES:
        main(stage, tmp_path / "run", device="cuda")
    assert all(abs(r.get("first_ratio", 1) - 1) < 1e-2 for r in records(tmp_path / "run" / "ppo" / "metrics.jsonl"))


@pytest.mark.cuda
def test_training_attention_is_the_fused_kernel():
    shape = dict(hidden_size=64, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, head_dim=32)
    model = LanguageModel(ModelConfig(97, **shape, dtype="bfloat16")).cuda()
    with sdpa_kernel(SDPBackend.FLASH_ATTENTION):                     # any other kernel is an error in here
        model(torch.randint(97, (3, 48), device="cuda")).float().logsumexp(-1).sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
