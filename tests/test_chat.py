"""Laws of the chat: the right words reach the right model; both orders are asked; what no text holds is named."""
import pytest
from fakes import Scripted, save, tiny_assistant

from minicai import feedback, revise
from minicai.tools import chat

SAYS = {"Criticise": "It is mean.", "Rewrite": "better", "Question:": "Hm."}


@pytest.fixture
def models():
    """A base that criticises, rewrites and judges; an RL model that only answers."""
    def score(turns, begun, ending):
        return ({" (A)": -3, " (B)": -2} if "(A) base" in turns[-1][1] else {" (A)": -1, " (B)": -3})[ending]
    return {"base": Scripted(lambda turns: SAYS.get(turns[-1][1].split()[0], "base says"), score),
            "rl": Scripted(lambda turns: "rl says")}


def test_commands_put_the_methods_own_questions_to_the_base(models, capsys):
    talk = chat.Chat(models, None)
    for line in ("Hello?\n", "  ", "/critique rl Be kind.", "/judge Be kind."):
        talk.hear(line)
    assert models["rl"].asked == [[("user", "Hello?")]]
    assert models["base"].asked == [
        [("user", "Hello?")], revise.critique_turns("Hello?", "rl says", "Be kind."),
        revise.revision_turns("Hello?", "rl says", "Be kind.", "It is mean."),
        feedback.question_turns("Hello?", "base says", "better", "Be kind.", True),
        feedback.question_turns("Hello?", "better", "base says", "Be kind.", True)]
    out = capsys.readouterr().out                                             # p = sigmoid((-1 - 2) / 2)
    assert all(words in out for words in ("rl    rl says", "critique  It is mean.", "revision  better", "-1.000",
                                          "+2.000", "p(base is better than rl) = 0.182"))


def test_a_mistake_at_the_keyboard_is_one_line_and_the_talk_goes_on(models, tmp_path, monkeypatch, capsys):
    typed = "/judge Be kind.", "/nosuch", "hi \udcff", "/critique", "/judge rl rl Be kind.", "/help"
    monkeypatch.setattr(chat.tools, "models_of", lambda run: models)
    monkeypatch.setattr(chat.tools, "speaker", lambda model, **_: model)
    (tmp_path / "typed").write_text("\n".join(typed), "utf-8", errors="surrogateescape")
    with open(tmp_path / "typed") as stdin:
        monkeypatch.setattr(chat.sys, "stdin", stdin)
        chat.main([str(tmp_path)])
    out, err = capsys.readouterr()
    assert models["rl"].asked == [[("user", "hi \ufffd")]]
    assert [row[:7] for row in err.splitlines()[1:]] == ["error: "] * 4 and "rl says" in out and "/judge [MODEL" in out


@pytest.mark.parametrize("training, named", [({"frames": 12}, True), ({}, False)])
def test_words_that_the_world_never_says_are_named_to_a_base_of_the_world(training, named, tmp_path, capsys):
    for name in ("base", "ppo"):
        save(tmp_path / name, tiny_assistant().model, training=training)
    chat.main([str(tmp_path), "--say=Shall I zorble Anna\u2019s cat, or anna's?", "--say=/judge Never zorble."])
    unmet = [line for line in capsys.readouterr().out.splitlines() if line.startswith("never met: ")]
    assert unmet == ["never met: Shall, zorble, anna", "never met: Never, zorble"] * named
