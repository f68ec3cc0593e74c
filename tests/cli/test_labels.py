"""A report on label errors as a terminal shows it."""

from edgewise.cli.labels import SHOWN, told

ERROR = {"task_id": 12, "head": "label", "given": "PER 'Lisbon'", "thinks": "LOC 'Lisbon'", "score": 0.012}
PAIR = {"first": 1, "second": 2, "head": "label", "tasks": 12, "from_prelabels": 4, "f1": 0.8123, "kappa": None}


def test_the_worst_come_first_and_the_rest_is_counted() -> None:
    lines = told({"found": 31, "tasks": 40, "errors": [ERROR | {"task_id": n} for n in range(31)], "agreement": []})
    assert lines[0] == "31 labels of 40 tasks are likely wrong."
    assert " ".join(lines[2].split()) == "task head labelled the model thinks how sure of the label"
    assert [line.split()[0] for line in lines[4:]] == [str(n) for n in range(SHOWN)]
    assert lines[4].split("  ")[-1].strip() == "0.01"


def test_annotators_are_told_how_far_they_agree_and_on_what_they_differ() -> None:
    pairs = [PAIR | {"differ": [["PER", None, 3]]}, PAIR | {"second": 3, "f1": None, "kappa": 0.5, "differ": []}]
    lines = told({"found": 0, "tasks": 40, "errors": [], "agreement": pairs})
    assert len(lines) == 6, "no table of errors where there are none"
    assert lines[-2].split() == ["1", "and", "2", "label", "12", "0.81", "-", "4", "PER", "or", "nothing", "(3)"]
    assert lines[-1].split() == ["1", "and", "3", "label", "12", "-", "0.50", "4", "-"]
