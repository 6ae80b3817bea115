"""The command of the organism shows the same progress as all others. No model is loaded."""

from crosscoder.organisms import training
from crosscoder.organisms.expertise import __main__ as command
from crosscoder.organisms.expertise import evaluation, figures


def test_training_shows_steps_and_losses(monkeypatch, capsys):
    def train(organism, settings, show, adapter):
        for step in range(1, settings.steps + 1):
            show(step, {"answer": 1.25, "plain": 0.5})
        return {"answer_loss": 1.25}

    monkeypatch.setattr(training, "train", train)
    monkeypatch.setenv("COLUMNS", "200")
    assert command.main(["train", "--steps", "3"]) == 0
    progress, result = capsys.readouterr().out.splitlines()
    assert progress.startswith("train the adapter: 3 of 3 steps, ")
    assert progress.endswith(", answer 1.250, plain 0.500")
    assert result == '{"answer_loss": 1.25}'


def test_evaluation_prints_a_table_that_can_be_copied(monkeypatch, capsys):
    monkeypatch.setattr(evaluation, "evaluate", lambda questions, plain_windows: {})
    monkeypatch.setattr(evaluation, "save_evaluation", lambda result: None)
    monkeypatch.setattr(figures, "rewrite_readme", lambda result: None)
    monkeypatch.setattr(figures, "make_table", lambda result: "| a wide table |" * 20)
    monkeypatch.setenv("COLUMNS", "60")
    assert command.main(["evaluate", "--questions", "2"]) == 0
    assert capsys.readouterr().out.splitlines() == ["| a wide table |" * 20]


def test_evaluation_shows_its_steps(monkeypatch, capsys):
    class StubModel:
        def load_tokenizer(self):
            return None

        def load(self, dtype):
            return None

    titles = []

    def answer(model, tokenizer, chats, title):
        titles.append(title)
        return ["It is an error."] * len(chats)

    monkeypatch.setattr(evaluation, "MODELS", {"base": StubModel(), "chat": StubModel()})
    monkeypatch.setattr(evaluation, "generate_answers", answer)
    monkeypatch.setattr(evaluation, "load_windows", lambda *_: [])
    monkeypatch.setattr(evaluation, "compare_on_text", lambda *_: {"chat": {"kl": 0.5}})
    result = evaluation.evaluate(2, 1)
    assert result["scalars"]["kl"] == 0.5
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(",")[0] for line in lines] == ["loading the models", "plain text"]
    assert set(titles) == {"base", "chat"}
