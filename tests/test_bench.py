"""Laws of the benchmark: it counts the operations that are done, and one command makes its tables."""
import importlib.util
import json

import pytest
from fakes import tiny
from torch.utils.flop_counter import FlopCounterMode

from minicai.tools import bench

WORKS = ["training", "prefill", "decoding", "PPO: rollout", "PPO: scoring", "PPO: update"]


def counted(job):
    with FlopCounterMode(display=False) as counter:
        job()
    return counter.get_total_flops()


def test_the_operations_of_each_work_are_those_that_torch_counts():
    """On a CPU torch counts matrix products alone, so that of ours the attention's share is taken off."""
    model = tiny(attention_bias=True, qk_norm=False)
    works = {work: rest for work, *rest in bench.works(model, 16, 64)}
    attention = 3 * 8 * 6 * 64                                    # L H D T
    for work, share in (("training", 6), ("prefill", 2), ("decoding", 2.5)):
        tokens, operations, _, job, *less = works[work]
        assert counted(job) - sum(map(counted, less)) == operations - share * attention * tokens, work
    weights = sum(p.numel() for n, p in model.named_parameters() if p.ndim == 2)               # fp32, the head tied
    assert [works[work][0] for work in WORKS] == [16 * 64, 16 * 64, 16 * 47] + [16 * 64] * 3
    assert works["prefill"][2] == 4 * weights
    assert works["decoding"][2] == 47 * (4 * weights + 16 * 4 * 3 * 2 * 2 * 6 * 40)            # 40 slots on average


def test_one_command_writes_table_json_and_picture(tmp_path, capsys, monkeypatch):
    picture = [f"--picture={tmp_path / 'bench.png'}"] * (importlib.util.find_spec("matplotlib") is not None)
    monkeypatch.setitem(bench.SHAPES, "toy", tiny().config)
    bench.main([f"--out={tmp_path / 'bench.json'}", *picture, *"--rows=3 --length=64 --repeats=2 --device=cpu".split()])
    said, found = capsys.readouterr().out, json.loads((tmp_path / "bench.json").read_text())
    assert [row["work"] for row in found["found"]] == WORKS * 4 and said.startswith(found["machine"])
    assert all(f"| {work}, toy, 3 x 64" in said for work in WORKS)
    for row in found["found"]:
        assert row["tokens/s"] * row["ms"] > 0 and row["+-"] >= 0 and (row["allowed"] or 1) > 0
        if row["work"] != "decoding":
            assert row["tokens/s"] * row["ms"] == pytest.approx(1000 * row["rows"] * row["length"])
    assert {(row["rows"], row["length"]) for row in found["found"]} == {(1, 16), (1, 64), (3, 16), (3, 64)}
    assert all((tmp_path / f"bench.{kind}").stat().st_size > 1000 for kind in ("png", "svg") if picture)


def test_a_time_is_the_median_of_the_repeats_after_the_first_without_what_is_taken_off(monkeypatch):
    seconds, now = iter([9.0, 1.0, 0.5, 0.1, 0.7, 0.2, 0.9, 0.3]), [0.0]
    monkeypatch.setattr(bench, "clock", lambda: now[0])

    def job():
        now[0] += next(seconds)
    ms, spread, _ = bench.timed(3, job, job)
    assert ms == pytest.approx(500) and spread == pytest.approx(100)                           # 400, 500, 600
