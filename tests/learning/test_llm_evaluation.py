"""Evaluations of language models: figures worked by hand, candidates whose truth is known, and what is advised."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from edgewise.labels.schema import Head
from edgewise.labels.spans import Span, on_whole
from edgewise.learning.llm_evaluation import (
    HEADER,
    Answer,
    Examined,
    Interval,
    Outlook,
    Report,
    Source,
    Taken,
    evaluate,
    forecast,
    per_day,
    taken_in_all,
)
from edgewise.learning.llm_evaluation.mistakes import as_drawn, mistakes
from examples import wikigold

HEAD = Head("label", "text", "text", ("PER", "ORG", "LOC", "MISC"))
TONE = Head("tone", "text", "text", ("glad", "sad", "flat"), kind="choice")
TOPICS = Head("topics", "text", "text", ("war", "art", "sea"), kind="choices")
TEXT = "Ada Lovelace met Charles Babbage in London in June."
ADA, CHARLES, LONDON = Span(0, 12, "PER"), Span(17, 32, "PER"), Span(36, 42, "LOC")
ASKED = Taken(51, 1, 200, 40, 0.001, 0.5)


def examined(gold: Sequence[Span], number: int = 1, **more: Any) -> Examined:
    return Examined(number, {"label": TEXT}, {"label": tuple(gold)}, **more)


def said(*spans: Span, taken: Taken | None = ASKED, **more: Any) -> Answer:
    return Answer({"label": spans}, taken=taken, **more)


def report(
    tasks: Sequence[Examined], *sources: Source, heads: Sequence[Head] = (HEAD,), outlook: Outlook | None = None
) -> Report:
    return evaluate(tasks, heads, sources, outlook or Outlook(), np.random.default_rng(0))


def many(name: str, right: int, of: int, *, is_candidate: bool = True, taken: Taken | None = ASKED) -> Source:
    """A source that is right about so many of tasks that hold one person each."""
    answers = {n: said(ADA, taken=taken) if n < right else said(taken=taken) for n in range(of)}
    return Source(name, answers, is_candidate=is_candidate)


# Mistakes


@pytest.mark.parametrize(
    ("gold", "answered", "kinds"),
    [
        ([ADA, LONDON], [ADA, LONDON], {}),
        ([ADA], [], {"missed": 1}),
        ([], [ADA], {"invented": 1}),
        ([ADA], [Span(0, 12, "ORG")], {"wrong label": 1}),
        ([ADA], [Span(0, 3, "PER")], {"wrong boundary": 1}),
        ([ADA], [Span(0, 3, "ORG")], {"wrong label and boundary": 1}),
        ([ADA], [Span(0, 3, "PER"), Span(4, 12, "PER")], {"wrong boundary": 1, "invented": 1}),
        ([ADA, CHARLES], [Span(0, 32, "PER")], {"wrong boundary": 1, "missed": 1}),
        ([ADA, LONDON], [LONDON, CHARLES], {"missed": 1, "invented": 1}),
    ],
)
def test_a_mistake_is_one_of_five_kinds(gold: list[Span], answered: list[Span], kinds: Mapping[str, int]) -> None:
    assert dict(+mistakes(gold, answered)[0]) == kinds


def test_half_a_word_that_a_person_selected_is_not_the_models_mistake() -> None:
    drawn = [Span(0, 10, "PER"), Span(36, 43, "LOC")]  # "Ada Lovela", "London "
    assert as_drawn(TEXT, drawn, [ADA, LONDON]) == tuple(drawn)
    assert as_drawn(TEXT, [ADA], [Span(0, 10, "PER")]) == (Span(0, 10, "PER"),), "but the model's own is"
    assert as_drawn(TEXT, drawn, [Span(0, 12, "ORG")]) == (Span(0, 12, "ORG"),), "nor a wrong label"


# Scores


def test_scores_of_spans_worked_by_hand() -> None:
    tasks = [examined([ADA, CHARLES, LONDON], 1), examined([], 2), examined([], 3), examined([LONDON], 4)]
    answers = {
        1: said(ADA, Span(17, 24, "PER"), Span(36, 42, "ORG")),
        2: said(),
        3: said(ADA),
        4: said(error="The model refused."),
    }
    found = report(tasks, Source("a", answers))
    one = found.scores["a"]["label"]
    assert (one.tasks, one.support, one.metric) == (4, 4, "F1")
    assert one.score is not None
    assert one.score.value == pytest.approx(2 * 1 / (2 * 1 + 3 + 3))
    assert (one.precision, one.recall) == (0.25, 0.25)
    assert one.mistakes == {
        "missed": 1, "invented": 1, "wrong label": 1, "wrong boundary": 1, "wrong label and boundary": 0,
    }  # fmt: skip
    assert one.confusions == (("LOC", "ORG", 1),)
    assert one.nothing_to_find.tasks == 2
    assert one.nothing_to_find.left_empty is not None
    assert (one.nothing_to_find.left_empty.value, one.nothing_to_find.invented) == (0.5, 1)
    assert one.accuracy is not None
    assert one.accuracy.value == 0.25
    per = {label.label: label for label in one.per_label}
    assert (per["PER"].precision, per["PER"].recall, per["PER"].support) == (1 / 3, 1 / 2, 2)
    assert (per["MISC"].f1, per["MISC"].support) == (None, 0)
    assert found.efforts["a"].errors == {"The model refused.": 1}


def test_a_single_choice_is_scored_by_accuracy_and_macro_f1() -> None:
    gold = ["glad", "glad", "sad", "sad"]
    answers = ["glad", "sad", "sad", None]
    tasks = [Examined(n, {"tone": TEXT}, {"tone": (on_whole(TEXT, label),)}) for n, label in enumerate(gold)]
    given = {n: Answer({"tone": () if label is None else (on_whole(TEXT, label),)}) for n, label in enumerate(answers)}
    one = report(tasks, Source("a", given), heads=[TONE]).scores["a"]["tone"]
    assert one.metric == "accuracy"
    assert one.score is not None
    assert one.score.value == 0.5
    assert one.macro_f1 is not None
    assert one.macro_f1.value == pytest.approx((2 / 3 + 1 / 2) / 2), "what nobody says or means does not count"
    assert one.mistakes["wrong label"] == 1
    assert one.mistakes["missed"] == 1
    assert one.confusions == (("glad", "sad", 1),)


def test_several_choices_are_scored_by_micro_f1() -> None:
    gold = [("war", "sea"), ("art",), ()]
    answers = [("war",), ("art", "sea"), ()]
    tasks = [
        Examined(n, {"topics": TEXT}, {"topics": tuple(on_whole(TEXT, x) for x in one)}) for n, one in enumerate(gold)
    ]
    given = {n: Answer({"topics": tuple(on_whole(TEXT, x) for x in one)}) for n, one in enumerate(answers)}
    one = report(tasks, Source("a", given), heads=[TOPICS]).scores["a"]["topics"]
    assert (one.metric, one.precision, one.recall) == ("F1", 2 / 3, 2 / 3)
    assert one.accuracy is not None
    assert one.accuracy.value == pytest.approx(1 / 3)


def test_tasks_whose_annotators_saw_an_answer_and_held_out_ones_are_apart() -> None:
    tasks = [
        *(examined([ADA], n, seen="language model") for n in range(10)),
        *(examined([ADA], n, audit=True) for n in range(10, 15)),
        *(examined([ADA], n, seen="model") for n in range(15, 20)),
    ]
    answers = {n: said(ADA) if n < 10 else said() for n in range(20)}
    one = report(tasks, Source("a", answers)).scores["a"]["label"]
    assert (one.tasks, one.seen.tasks, one.audit.tasks) == (10, 10, 5)
    assert one.score is not None
    assert one.seen.score is not None
    assert (one.score.value, one.seen.score.value) == (0.0, 1.0)


def test_confidences_are_judged_beside_what_chance_alone_would_give() -> None:
    rng = np.random.default_rng(1)
    sure = rng.uniform(0.5, 1, 300)
    right = rng.random(300) < sure - 0.25
    answers = {
        n: said(replace(ADA, score=float(p)) if ok else Span(0, 12, "ORG", float(p)))
        for n, (p, ok) in enumerate(zip(sure, right, strict=True))
    }
    one = report([examined([ADA], n) for n in range(300)], Source("a", answers)).scores["a"]["label"]
    assert one.calibration is not None
    assert one.calibrated is not None
    assert one.calibration.ece > one.calibration.null_ece_high
    assert one.calibrated.ece < one.calibration.ece / 2
    silent = report([examined([ADA])], Source("a", {1: said(ADA)})).scores["a"]["label"]
    assert silent.calibration is None


def test_95_percent_intervals_of_200_candidates_of_known_error_rate_cover_the_truth() -> None:
    rows = wikigold.rows("train")
    rng = np.random.default_rng(7)
    cover = []
    for number in range(200):
        lost, wrong = rng.uniform(0.01, 0.4), rng.uniform(0.0, 0.2)
        tasks, source = simulated(rows, int(rng.choice([40, 80, 160])), (lost, wrong), rng)
        one = evaluate(tasks, [HEAD], [source], Outlook(), np.random.default_rng(number)).scores["a"]["label"]
        right = (1 - lost) * (1 - wrong)
        truth = 2 * right / (1 + (1 - lost))
        assert one.score is not None
        cover.append(one.score.low <= truth <= one.score.high)
    assert 0.92 <= np.mean(cover) <= 0.98, np.mean(cover)


def simulated(
    rows: Sequence[Mapping[str, Any]], count: int, rates: tuple[float, float], rng: np.random.Generator
) -> tuple[list[Examined], Source]:
    """So many tasks of wikigold, and a candidate that loses spans and mistakes labels of the others at these rates."""
    tasks, answers = [], {}
    for number, place in enumerate(rng.choice(len(rows), count)):
        gold = tuple(Span(s["start"], s["end"], s["label"]) for s in rows[place]["spans"])
        tasks.append(Examined(number, {"label": rows[place]["text"]}, {"label": gold}))
        kept = [span for span in gold if rng.random() >= rates[0]]
        answers[number] = said(*(other(span) if rng.random() < rates[1] else span for span in kept))
    return tasks, Source("a", answers)


def other(span: Span) -> Span:
    labels = HEAD.labels
    return replace(span, label=labels[(labels.index(span.label) + 1) % len(labels)])


# What it takes


def test_tokens_money_and_time_are_those_of_the_answers() -> None:
    tasks = [examined([ADA], n) for n in range(50)]
    found = report(tasks, replace(many("a", 50, 50), concurrency=4.0), outlook=Outlook([51] * 700, 200)).efforts["a"]
    assert found.input_tokens is not None
    assert (found.input_tokens.mean, found.input_tokens.p95) == (200, 200)
    assert found.usd is not None
    assert (found.usd.low, found.usd.value, found.usd.high) == pytest.approx((1.0, 1.0, 1.0))
    assert found.hours is not None
    assert found.hours.value == pytest.approx(1000 * 0.5 / 4 / 3600)
    assert found.remaining.tokens is not None
    assert found.remaining.tokens.value == pytest.approx(700 * 240)
    assert found.a_day.usd is not None
    assert found.a_day.usd.value == pytest.approx(0.2)


def test_what_is_unknown_is_never_nothing() -> None:
    silent = Taken(51, 1, None, None, None, 0.5)
    found = report([examined([ADA], n) for n in range(3)], many("a", 3, 3, taken=silent))
    effort = found.efforts["a"]
    assert (effort.input_tokens, effort.usd, effort.remaining.usd, effort.a_day.tokens) == (None, None, None, None)
    (row,) = found.table()[1]
    assert row[HEADER.index("USD per 1,000")] == "unknown"
    known = taken_in_all([ASKED, silent])
    assert (known.calls, known.characters, known.latency_s) == (2, 102, 1.0)
    assert (known.input_tokens, known.usd) == (None, None)


def test_a_forecast_for_no_tasks_is_nothing_and_from_no_sample_unknown() -> None:
    assert forecast([ASKED], [], concurrency=1.0).calls == Interval(0.0, 0.0, 0.0)
    assert forecast([], [10], concurrency=1.0).calls is None
    assert forecast([replace(ASKED, calls=0)], [10], concurrency=1.0).tokens is None, "nobody was asked"
    assert forecast([ASKED] * 3, [10], concurrency=None).hours is None
    day = per_day([ASKED] * 6, [], 10, concurrency=1.0)
    assert day.calls is not None
    assert day.calls.value == pytest.approx(10)


def test_unplaced_and_invalid_parts_are_shares_of_all_parts() -> None:
    answers = {1: said(ADA, unplaced=1), 2: said(ADA, LONDON, invalid=1), 3: said(), 4: said()}
    effort = report([examined([ADA], n) for n in answers], Source("a", answers)).efforts["a"]
    assert (effort.unplaced, effort.invalid, effort.tasks_with_either) == (0.2, 0.2, 0.5)


def test_flips_have_an_interval_and_none_without_a_canary() -> None:
    source = replace(many("a", 3, 3), flipped=2, planted=10)
    effort = report([examined([ADA], n) for n in range(3)], source).efforts["a"]
    assert effort.flips is not None
    assert effort.flips.value == 0.2
    assert effort.flips.low < 0.1 < 0.4 < effort.flips.high
    assert report([examined([ADA], 1)], many("a", 1, 2)).efforts["a"].flips is None


# Advice


def advised(*sources: Source, of: int) -> str:
    return " ".join(report([examined([ADA], n) for n in range(of)], *sources).advice)


def test_the_better_one_is_named_with_how_much_better() -> None:
    told = advised(many("a", 60, 100), many("b", 95, 100), of=100)
    assert told.startswith("b is better than a by 0.22 F1 (95 % interval 0.")
    assert told.endswith("on 100 tasks.")


def test_of_two_that_cannot_be_told_apart_the_cheaper_is_taken() -> None:
    dear = replace(ASKED, usd=0.004)
    told = advised(many("a", 52, 60, taken=dear), many("b", 50, 60), of=60)
    assert "a and b cannot be told apart on 60 tasks (F1 +0.02" in told or "differ too little" in told
    assert "take the cheaper, b: 1.00 against 4.00 dollars for 1,000 tasks" in told


def test_without_prices_the_one_of_fewer_tokens_is_named() -> None:
    free = replace(ASKED, usd=None)
    told = advised(many("a", 52, 60, taken=free), many("b", 50, 60, taken=replace(free, input_tokens=900.0)), of=60)
    assert "their prices are unknown; a takes fewer tokens, 240 against 940 for a task" in told


def test_too_few_tasks_are_no_ground_for_advice() -> None:
    told = advised(many("a", 5, 20), many("b", 20, 20), of=20)
    assert told.startswith("Too few tasks: 20.")
    assert "better" not in told


def test_a_model_of_our_own_that_is_as_good_costs_nothing() -> None:
    ours = many("trained model", 97, 100, is_candidate=False, taken=None)
    told = advised(many("a", 60, 100), ours, of=100)
    assert "trained model is better than a" in told
    assert "It costs nothing to ask" in told
    told = advised(many("a", 97, 100), ours, of=100)
    assert "take trained model, which costs nothing to ask" in told


def test_where_nothing_was_to_be_found_nothing_is_told() -> None:
    tasks = [examined([], n) for n in range(40)]
    found = report(tasks, Source("a", {n: said() for n in range(40)}))
    assert found.advice == ("There is nothing to tell: no labelled task was answered that has anything to find.",)


def test_of_many_candidates_none_is_found_better_by_luck() -> None:
    rng = np.random.default_rng(8)
    found_better = 0
    for _ in range(40):
        answers = [{n: said(ADA) if rng.random() < 0.8 else said() for n in range(60)} for _ in range(5)]
        told = report([examined([ADA], n) for n in range(60)], *(Source(f"c{i}", a) for i, a in enumerate(answers)))
        best = {one.split(" is better than ")[0] for one in told.advice if "is better than" in one}
        found_better += bool(best)
    assert found_better <= 8, "the best of five equals is told from another of them in at most a fifth of the cases"


# The report


def test_a_report_is_json_and_a_table_and_holds_no_text() -> None:
    tasks = [examined([ADA], 1), examined([], 2)]
    source = Source("a", {1: said(ADA, taken=Taken(51, 1, 2, 3, None, 1.0))}, facts={"codec": "json"})
    ours = Source("trained model", {1: said(ADA, taken=None)}, is_candidate=False)
    found = report(tasks, source, ours)
    text = json.dumps(found.to_json(), allow_nan=False)
    assert "Lovelace" not in text
    header, rows = found.table()
    assert [row[0] for row in rows] == ["a", "trained model"]
    assert all(len(row) == len(header) for row in rows)


def test_the_same_answers_give_the_same_report() -> None:
    tasks = [examined([ADA], n) for n in range(40)]
    first, second = (report(tasks, many("a", 30, 40), many("b", 35, 40)).to_json() for _ in range(2))
    assert first == second


def test_a_head_that_a_source_does_not_answer_for_is_not_held_against_it() -> None:
    tasks = [
        Examined(n, {"label": TEXT, "tone": TEXT}, {"label": (ADA,), "tone": (on_whole(TEXT, "sad"),)})
        for n in range(3)
    ]
    source = Source("a", {n: said(ADA) for n in range(3)})
    found = report(tasks, source, heads=[HEAD, TONE]).scores["a"]
    assert (found["label"].tasks, found["tone"].tasks, found["tone"].score) == (3, 0, None)
