"""A made-up project for the dashboard: every part of the page has something to show."""

from typing import Any

Json = dict[str, Any]
REASON = "The 90 % interval of the difference, -0.412 to -0.301, lies below zero."
LABELS = {"PER": 0.88, "ORG": 0.64, "LOC": 0.79, "MISC": 0.51}


def job(number: int, kind: str, state: str, **fields: Any) -> Json:
    """A job as status shows it."""
    plain = {
        "id": f"job{number}", "kind": kind, "state": state, "progress": 1.0 if state == "done" else 0.0, "message": "",
        "attempts": 1, "error": None, "created_at": "2026-11-21T14:00:00+00:00", "started_at": None,
        "finished_at": None, "run_after": None,
    }  # fmt: skip
    return plain | fields


def version(id: str, state: str, **fields: Any) -> Json:
    """A card."""
    plain = {
        "id": id, "state": state, "reason": "", "parent": None, "dataset": "4be1d2c0ffee", "seed": 0,
        "settings": {
            "recipe": {"learning_rate": "auto", "epochs": "auto", "max_length": 128, "seed": 0, "minutes": None},
            "training": {"label": {"strategy": "full", "epochs": 12}},
            "baseline": "packaged:minilm",
        },
        "scores": {}, "label_counts": {"label": {"PER": 212, "ORG": 143, "LOC": 188, "MISC": 74}}, "pinned": False,
        "kept": True, "code": "0.1.0", "at": "2026-11-21T13:00:00+00:00",
    }  # fmt: skip
    return plain | fields


def point(id: str, state: str, examples: int, **fields: Any) -> Json:
    """One version on the curve. It takes 9 seconds to label a task."""
    per_label = {label: {"f1": round(best * min(1.0, 0.6 + examples / 700), 3), "support": 17 + 9 * i}
                 for i, (label, best) in enumerate(LABELS.items())}  # fmt: skip
    plain = {
        "version": id, "state": state, "at": "2026-11-21T13:00:00+00:00", "examples": examples,
        "minutes": round(examples * 9 / 60, 1), "on": "held_out", "tasks": 63, "per_label": per_label,
    }  # fmt: skip
    return plain | fields


IDS = ("0a1b2c3d4e5f", "1b2c3d4e5f60", "2c3d4e5f6071", "3d4e5f607182", "4e5f60718293", "5f6071829304")
SCORES = ((20, 0.31, 0.21, 0.40), (60, 0.52, 0.42, 0.61), (120, 0.64, 0.55, 0.72), (180, 0.69, 0.61, 0.77),
          (240, 0.29, 0.2, 0.38), (240, 0.731, 0.652, 0.803))  # fmt: skip
STATES = ("accepted", "accepted", "accepted", "accepted", "refused", "accepted")

STATUS: Json = {
    "project_id": 7,
    "title": "Wikigold",
    "phase": "training",
    "why": "train is running (43%) Epoch 5 of 12",
    "next_step": "In Label Studio, choose Label All Tasks: the next task is the one worth most.",
    "labels_since_last_training": 36,
    "training_starts_at": 60,
    "tasks": {"tasks": 1696, "open": 1393, "labelled": 303, "audit_labelled": 63, "problems": 2},
    "tasks_left_above_threshold": 211,
    "model_version": {"id": IDS[-1], "examples": 240},
    "versions": [],
    "release": {"name": "ew-9", "version": IDS[-1], "whole": True, "tasks": 1393},
    "language_model": {
        "run": 2, "at": "2026-11-21T12:00:00+00:00", "provider": "openai", "model": "small-4",
        "host": "api.example.com",
        "sent": {"tasks": 812, "texts": 812, "demonstrations": 8, "failed": 3}, "calibrated_on": 41,
        "spend": {"usd": "1.2304", "held_usd": "0", "calls": 840, "input_tokens": 912332, "output_tokens": 81220},
        "open_tasks_left": 581,
    },
    "note": "",
    "trouble": None,
    "ignored": ["TextArea 'comment'"],
    "unreadable_tasks": {31: "The field text is missing."},
    "checks": [{"check": "webhook", "ok": True, "what": "", "mend": ""}],
    "jobs": [
        job(5, "train", "running", progress=0.43, message="Epoch 5 of 12", started_at="2026-11-21T14:01:00+00:00"),
        job(4, "rank", "queued", run_after="2026-11-21T14:05:00+00:00"),
        job(3, "sync", "done", finished_at="2026-11-21T14:00:58+00:00"),
        job(2, "rank", "done", finished_at="2026-11-21T13:31:00+00:00", message="1393 tasks in order"),
        job(1, "prelabel", "failed", error={"what": "The budget is spent.", "mend": "Raise LLM_BUDGET_USD."}),
    ],
    "at": "2026-11-21T14:02:00+00:00",
}  # fmt: skip

NUMBERS: Json = {
    "held_out": {"tasks": 63, "enough": True},
    "curves": {
        "label": {
            "measure": "F1",
            "points": [
                point(id, state, examples, score=score, low=low, high=high)
                for id, state, (examples, score, low, high) in zip(IDS, STATES, SCORES, strict=True)
            ],
        }
    },
    "advice": {
        "sentence": "The next 100 labels should add 2.1 points of F1 (0.6 to 3.4): going on is worth it.",
        "gain": 0.021, "low": 0.006, "high": 0.034, "per": 100, "stop": False, "changed": 0.12,
    },
    "versions": [
        version(id, state, parent=parent, reason=REASON if state == "refused" else "", kept=kept,
                at=f"2026-11-21T1{number}:07:00+00:00")
        for number, (id, state, parent, kept) in enumerate(
            zip(IDS, STATES, (None, *IDS), (False, True, True, True, True, True), strict=False)
        )
    ],
    "pace": {"with": {"tasks": 221, "median_s": 6.4}, "without": {"tasks": 63, "median_s": 11.9}},
    "feedback": [
        {"head": "label", "label": label, "source": source, "accepted": 60 - 9 * i, "moved": 8 + i,
         "changed": 3 + 2 * i, "deleted": 4 + 3 * i, "missed": 5 + i}
        for source in ("language model run 2", f"model {IDS[-1]}") for i, label in enumerate(LABELS)
    ],
    "saving": {
        "version": IDS[3],
        "sentence": "Random order would have needed about 410 labels (90 % interval 330 to 620) for what 240 brought.",
        "heads": {},
    },
    "label_errors": {
        "tasks": 303,
        "errors": [
            {"task_id": 1200 + i, "head": "label", "given": "ORG 'Washington'", "thinks": "LOC 'Washington'",
             "score": 0.02 + 0.03 * i, "fixed": i == 2}
            for i in range(6)
        ],
        "found": 41,
        "agreement": [
            {"head": "label", "first": 1, "second": 2, "tasks": 38, "f1": 0.86, "same": None, "kappa": None,
             "differ": [["ORG", "LOC", 9], [None, "MISC", 4]], "from_prelabels": 30}
        ],
    },
    "improve": {
        "sentence": "2 rounds, 1,290 calls, 0.9150 dollars. label: 96 of 884 labels are in doubt.",
        "ended": "0 labels changed: fewer than 1%.",
        "spend": {"usd": "0.9150", "held_usd": "0", "calls": 1290, "input_tokens": 1, "output_tokens": 1},
        "rounds": [
            {"round": i, "run": 2 + i, "demonstrations": [1201, 1202][:i],
             "spend": {"usd": f"0.{6 - 2 * i}1", "held_usd": "0", "calls": 884 - 300 * i, "input_tokens": 1,
                       "output_tokens": 1},
             "heads": {"label": {"tasks": 884, "asked": 884 - 300 * i, "failed": 0, "changed": 120 * i,
                                 "believed": 0.5 + 0.2 * i if i else None, "agreement": 0.6 + 0.1 * i if i else None,
                                 "quality": {"measure": "F1", "tasks": 63, "score": 0.6 + 0.05 * i, "low": 0.5,
                                             "high": 0.75},
                                 "ended": None}}}
            for i in range(3)
        ],
    },
}  # fmt: skip
PROJECTS: list[Json] = [
    {"project_id": 7, "title": "Wikigold", "phase": "training", "tasks": 1696, "labelled": 303, "serving": IDS[-1]},
    {"project_id": 9, "title": "Complaints of customers", "phase": "cold start", "tasks": 240, "labelled": 0,
     "serving": None},
]  # fmt: skip
PLAN: Json = {
    "left": {"tasks": 581, "usd": {"value": 0.88, "low": 0.81, "high": 0.96},
             "hours": {"value": 0.21, "low": 0.18, "high": 0.25}, "calls": {"value": 581, "low": 581, "high": 583},
             "tokens": {"value": 690212.0, "low": 652300.0, "high": 731904.0}},
    "advice": ["581 tasks left. Calls: 581; tokens: -; dollars: 0.88 (0.81 to 0.96); hours: 0.21 (0.18 to 0.25)."],
}  # fmt: skip
for _kind in ("saving", "label_errors", "improve"):  # reports come whole: with their id and date
    NUMBERS[_kind] = {"id": "r9", "at": "2026-11-21T13:40:00+00:00", "report": NUMBERS[_kind]}
