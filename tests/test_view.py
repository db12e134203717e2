"""Laws of the viewer: what the files say stands in the page, all of it and unharmed; the page as a person drives it."""
import json
import random
import re
import shutil
from operator import attrgetter

import pytest
from fakes import table, write

from minicai import UserError
from minicai.tools import view
from minicai.toyworld import speech, world

HOSTILE = "</script><script>document.title='hacked'</script><!-- <b>\"'&amp;\\ \u2028\x85\x00\x1b\u202e\ud800 é"
WORLD, RNG = world.World(), random.Random(0)
HARM, BENIGN = (WORLD.requests(WORLD.select(kind), "test", 6, RNG) for kind in ("harm", "benign"))
GOOD = [speech.objection(q, RNG) for q in HARM]
BACKGROUND = "getComputedStyle(document.body).backgroundColor"
COLUMNS = ("logp", "logp_ref", "reward", "value", "adv", "ret", "ratio")
SL = [{"prompt": q.prompt, "response": f"You could {q.how}.", "principles": ["Be kind.", HOSTILE],
       "critiques": ["It breaks it.", ""], "revisions": [good, good]} for q, good in zip(HARM, GOOD, strict=True)]
RM = [{"prompt": q.prompt, "a": f"You could {q.how}.", "b": HOSTILE, "p_a": 0.8125, "source": "ai", "mass": 0.97,
       "principles": ["Be kind."], "log_odds": [[-3.25, 4.75]], "reasons": [[HOSTILE, "So"]]} for q in HARM + BENIGN]
PPO = [{"iteration": i, "prompt": q.prompt, "response": "no\n", "score": -1.5, "kl": .2, "tokens": ["a", "\n", "<end>"]}
       | {name: [i + c + k / 8 for k in range(3)] for c, name in enumerate(COLUMNS)} for i, q in enumerate(HARM)]
PARTS = {"sl": [*SL, SL[0] | {"prompt": HOSTILE}], "rm": RM, "ppo": PPO}


@pytest.fixture
def run(tmp_path):
    for name, records in PARTS.items():
        text = "\n".join(json.dumps(record) for record in records).replace(r"\u2028\u0085", "\u2028\x85")
        write(tmp_path, {f"{name}/{view.PARTS[name][0]}": text + "\n"})
    return tmp_path


def shown(run):
    """The page, and its parts as a browser takes them: up to the first end of a script."""
    view.main([str(run)])
    html = (run / "view.html").read_text(encoding="utf-8")
    data = re.search(r'<script type="application/json" id="data">(.*?)</script', html, re.S)[1]
    return html, json.loads(data)["parts"]


def test_every_record_is_in_the_page_as_it_is_and_nothing_gets_out_of_its_place(run):
    html, parts = shown(run)
    assert {name: [{key: r[key] for key in old} for r, old in zip(parts[name]["records"], records, strict=True)]
            for name, records in PARTS.items()} == PARTS
    assert html.count("<script") == html.count("</script") == 2 and "<!--" not in html
    assert not re.search(r"(src|href|import|url)\s*[=(]|https?:|fetch\(|innerHTML|insertAdjacent|eval\(", html)


def test_prompts_of_the_world_get_their_category_and_the_gold_judges_verdicts(run):
    assert not any(map(WORLD.recognise, ("", HOSTILE, "How do I ?", f"How do I {HARM[0].act} x?")))
    twice = world._act(world.Frame("benign", "benign", "known", ("give {name} {name}'s cat",)))
    assert twice.fullmatch("give Anna Anna's cat") and not twice.fullmatch("give Anna Ben's cat")
    sl, rm, ppo = (part["records"] for part in shown(run)[1].values())
    assert [r["category"] for r in sl[:-1]] == [q.frame.category for q in HARM]
    assert sl[0]["verdicts"] == ["harmful", "objection", "objection"] and not {"category", "verdicts"} & set(sl[-1])
    assert rm[0]["verdicts"] == ["harmful", "off grammar"] and rm[-1]["verdicts"] == ["helpful", "off grammar"]


def test_a_long_run_is_thinned_evenly_to_a_page_below_five_megabytes():
    whole = [{"prompt": HOSTILE * 9, "i": i} for i in range(6000)]
    part = view.thin(whole)
    assert part["total"] == 6000 and part["records"] == whole[::part["step"]] and len(part["records"]) > 1000
    assert len(view.page("run", dict.fromkeys(PARTS, part))) < 5e6
    assert view.thin(whole[:100]) == {"records": whole[:100], "total": 100, "step": 1}


def test_what_is_there_is_shown_and_what_is_no_record_is_one_line(run):
    shutil.rmtree(run / "sl")
    assert set(shown(run)[1]) == {"rm", "ppo"}
    for line in ("{", "[1]", "3", '{"prompt": "hi"}', json.dumps(RM[0] | {"reasons": 1})):
        (run / "rm" / "comparisons.jsonl").write_text(json.dumps(RM[0]) + "\n" + line)
        with pytest.raises(UserError, match="comparisons.jsonl, line 2: is not what a stage writes"):
            view.main([str(run)])


@pytest.mark.browser
def test_the_page_in_a_browser(run):
    from playwright.sync_api import sync_playwright
    shown(run)
    url, asked, faults = (run / "view.html").as_uri(), [], []
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(color_scheme="dark")
        page.on("request", lambda request: asked.append(request.url))
        page.on("pageerror", lambda fault: faults.append(fault))
        page.goto(url)
        names = dict(harm=HARM, benign=BENIGN, good=GOOD, loud=HARM[3].act.upper(), first=page.inner_text("#detail"))
        for step in table("view")["walk"]:
            walk(page, step, names)
        dark = page.evaluate(BACKGROUND)
        page.emulate_media(color_scheme="light")
        assert page.evaluate(BACKGROUND) != dark
        assert page.title() == f"minicai {run.name}" and asked == [url] and not faults    # no network, nothing hacked


def walk(page, step, names):
    before = page.evaluate(step.get("changes", "0"))
    for method, *given in [["keyboard.press", key] for key in step.get("press", "").split()] + step.get("do", []):
        attrgetter(method)(page)(*(word.format(**names) for word in given))
    shown = {part: page.inner_text(part) for part in [*step.get("shows", {}), *step.get("reads", {})]}
    assert all(said.format(**names) in shown[part] for part, some in step.get("shows", {}).items() for said in some)
    assert all(shown[part] == said.format(**names) for part, said in step.get("reads", {}).items())
    assert all(page.is_visible(part) == right for part, right in step.get("visible", {}).items())
    assert "changes" not in step or page.evaluate(step["changes"]) != before
    if "numbers" in step:
        assert list(map(float, page.locator("#numbers dd").all_inner_texts()[1:])) == step["numbers"]
