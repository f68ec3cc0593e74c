"""train and predict on files: every format, honest scores, rows in order, bad input by its row, nothing half-done."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import NEW, SAMPLE, Run, rows_of, write_rows

ROOT = Path(__file__).parent.parent.parent
PEOPLE = ["Ada Young", "Alan Turing", "Grace Hopper", "Emmy Noether"]
PLACES = ["Paris", "Lisbon", "New York", "Cape Town"]


def sentences(count: int) -> list[tuple[str, list[dict[str, Any]]]]:
    """Texts that differ, with a person and a place in each."""
    made = []
    for number in range(count):
        person, place = PEOPLE[number % 4], PLACES[number // 4 % 4]
        text = f"On day {number} {person} went to {place} ."
        spans = [
            {"start": text.index(name), "end": text.index(name) + len(name), "label": label}
            for name, label in ((person, "PER"), (place, "LOC"))
        ]
        made.append((text, spans))
    return made


def train(run: Run, file: Path, *more: object) -> Any:
    """Train quickly and return what it says for machines."""
    ended = run("train", "-i", file, "-o", "made.model", "--strategy", "features", "--json", *more)
    assert ended.code == 0, ended.err
    return ended.json


def test_a_model_is_trained_and_its_folder_says_what_it_is(taught: Path, run: Run) -> None:
    described = json.loads((taught / "edgewise.json").read_text())
    assert described["head"]["kind"] == "choice"
    assert len(described["head"]["labels"]) == 12
    assert described["text_columns"] == ["text"]
    assert described["scores"]["test"]["accuracy"] > 0.6
    assert len(described["dataset"]) == 12
    assert described["recipe"]["strategy"] == "features"
    assert (taught / "heads" / "label" / "model.safetensors").is_file()
    assert not [path for path in taught.parent.iterdir() if path.name.startswith(".")]


def test_the_split_is_by_text_so_that_copies_fall_on_one_side(run: Run) -> None:
    rows = rows_of(SAMPLE)[:120]
    once = train(run, write_rows(Path("once.csv"), rows))
    copies = [{**row, "text": f" {row['text'].upper()}"} for row in rows]
    file = write_rows(Path("twice.csv"), [*rows, *copies])
    twice = run("train", "-i", file, "-o", "twice.model", "--strategy", "features", "--json").json
    assert twice["rows"] == {part: 2 * count for part, count in once["rows"].items()}


def test_test_scores_are_shown_once_at_the_end_with_what_they_mean(run: Run) -> None:
    ended = run("train", "-i", SAMPLE, "-o", "made.model", "--strategy", "features")
    assert ended.out.count("Test:") == 1
    assert "rows that training never saw" in ended.out
    assert "share of rows that are wholly right" in ended.out


def test_a_predicted_file_keeps_rows_columns_and_order(taught: Path, run: Run) -> None:
    rows = [
        {"n": number, "label": "mine", "text": row["text"], "more": 'a,"b"\nc'}
        for number, row in enumerate(rows_of(NEW))
    ]
    rows[3]["text"] = "  "
    file = write_rows(Path("new.csv"), rows)
    ended = run("predict", "--model-dir", taught, "-i", file, "-o", "out.csv", "--batch-size", 7, "--json")
    assert ended.code == 0, ended.err
    assert ended.json["columns"] == ["predicted_label", "confidence"]
    made = rows_of(Path("out.csv"))
    assert [{name: row[name] for name in rows[0]} for row in made] == [
        {name: str(value) for name, value in row.items()} for row in rows
    ]
    assert made[3]["predicted_label"] == made[3]["confidence"] == ""
    assert all(0 <= float(row["confidence"]) <= 1 for row in made if row["text"].strip())
    assert ended.json["blank"] == 1


def test_predictions_do_not_depend_on_how_rows_are_batched(taught: Path, run: Run) -> None:
    for size in (1, 64):
        assert run("predict", "--model-dir", taught, "-i", NEW, "-o", f"{size}.csv", "--batch-size", size).code == 0
    assert [row["label"] for row in rows_of(Path("1.csv"))] == [row["label"] for row in rows_of(Path("64.csv"))]


def test_several_columns_make_a_text_and_several_labels_a_cell(run: Run) -> None:
    rows = [
        {
            "title": ("Invoice" if number % 2 else "Parcel") + f" {number}",
            "body": "" if number % 3 else "It came late and broken.",
            "topics": ";".join((["billing"] if number % 2 else ["delivery"]) + ([] if number % 3 else ["complaint"])),
        }
        for number in range(90)
    ]
    file = write_rows(Path("mails.csv"), rows)
    said = train(run, file, "--text-columns", "title,body", "--label-column", "topics", "--multi-label")
    assert said["head"]["kind"] == "choices"
    assert said["head"]["labels"] == ["billing", "complaint", "delivery"]
    assert run("predict", "--model-dir", "made.model", "-i", file, "-o", "out.csv").code == 0
    made = rows_of(Path("out.csv"))
    right = sum(set(json.loads(row["label"])) == set(row["topics"].split(";")) for row in made)
    assert right > 0.8 * len(made)


def test_spans_in_a_column_are_learnt_and_answered_as_json(run: Run) -> None:
    rows = [{"text": text, "entities": json.dumps(spans)} for text, spans in sentences(80)]
    file = write_rows(Path("names.csv"), rows)
    said = train(run, file, "--spans-column", "entities")
    assert (said["head"]["kind"], said["head"]["labels"]) == ("spans", ["LOC", "PER"])
    assert run("predict", "--model-dir", "made.model", "-i", file, "-o", "out.csv").code == 0
    for row in rows_of(Path("out.csv")):
        for span in json.loads(row["spans"]):
            assert row["text"][span["start"] : span["end"]].strip()


def test_an_export_of_label_studio_is_read_with_its_annotations(run: Run) -> None:
    tasks = []
    for number, (text, spans) in enumerate(sentences(60), 1):
        result = [
            {"from_name": "ner", "to_name": "doc", "type": "labels", "value": {**span, "labels": [span["label"]]}}
            for span in spans
        ]
        tasks.append({"id": number, "data": {"text": text}, "annotations": [{"id": number, "result": result}]})
    tasks[5]["annotations"] = []
    Path("export.json").write_text(json.dumps(tasks))
    said = train(run, Path("export.json"))
    assert said["head"]["from_name"] == "ner"
    assert said["head"]["labels"] == ["LOC", "PER"]
    assert said["left_out"] == 1
    assert sum(said["rows"].values()) == 59


@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
def test_other_formats_teach_the_same(suffix: str, run: Run) -> None:
    rows = rows_of(SAMPLE)[:100]
    file = Path(f"rows.{suffix}")
    if suffix == "jsonl":
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        import pyarrow
        import pyarrow.parquet

        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), file)
    dataset = train(run, file)["dataset"]
    again = run("train", "-i", write_rows(Path("rows.csv"), rows), "-o", "b", "--strategy", "features", "--json").json
    assert dataset == again["dataset"]


def test_examples_only_teach_and_are_left_out_where_the_test_has_their_text(run: Run) -> None:
    rows = rows_of(SAMPLE)
    own, more = write_rows(Path("own.csv"), rows[:150]), write_rows(Path("more.csv"), rows[:200])
    alone = train(run, own)
    labels = ",".join(sorted({row["label"] for row in rows}))
    both = run(
        "train", "-i", own, "-o", "both", "--examples", more, "--labels", labels, "--strategy", "features", "--json"
    ).json
    assert both["rows"]["test"] == alone["rows"]["test"]
    assert both["rows"]["train"] > alone["rows"]["train"]
    assert both["left_out"] >= alone["rows"]["test"]


BROKEN: dict[str, tuple[str | bytes, int, str]] = {
    "a missing column": ("id,words\n1,hello\n", 2, "no column 'text'"),
    "a broken row": ("text,label\nhello,a\nhello,b,c\n", 2, "Row 3"),
    "a label that is not in the set": ("text,label\nhello,a\nyou,zzz\n", 2, "Row 3"),
    "an unknown encoding": (b"text,label\ncaf\xe9,a\n", 2, "UTF-8"),
    "an open quote": ('text,label\n"hello,a\nyou,b\n', 2, "quote"),
    "nothing": ("", 2, "empty"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_bad_input_is_told_with_what_and_mend_and_nothing_is_written(name: str, run: Run) -> None:
    content, code, told = BROKEN[name]
    Path("bad.csv").write_bytes(content if isinstance(content, bytes) else content.encode())
    ended = run("train", "-i", "bad.csv", "-o", "made.model", "--labels", "a,b", "--json")
    assert ended.code == code
    assert told in ended.err
    assert ended.json["error"]["mend"]
    assert "Traceback" not in ended.err
    assert sorted(path.name for path in Path().iterdir()) == ["bad.csv"]


def test_a_huge_cell_and_a_broken_row_at_the_end_write_no_prediction(taught: Path, run: Run) -> None:
    Path("huge.csv").write_text("text\nfine\n" + "x" * 50_000_000 + "\n")
    Path("late.csv").write_text("text,n\n" + "fine,1\n" * 5_000 + "broken\n")
    for file, row in (("huge.csv", "Row 3"), ("late.csv", "Row 5002")):
        ended = run("predict", "--model-dir", taught, "-i", file, "-o", "out.csv")
        assert (ended.code, row in ended.err) == (2, True)
    assert sorted(path.name for path in Path().iterdir()) == ["huge.csv", "late.csv"]


def test_an_output_that_is_there_stays_unless_told(taught: Path, run: Run) -> None:
    Path("out.csv").write_text("precious")
    words = ("predict", "--model-dir", taught, "-i", NEW, "-o", "out.csv")
    assert run(*words).code == 1
    assert Path("out.csv").read_text() == "precious"
    assert run(*words, "--overwrite").code == 0
    assert run("train", "-i", SAMPLE, "-o", taught).code == 1


def test_a_folder_that_is_no_model_is_told_so(run: Run) -> None:
    Path("empty").mkdir()
    ended = run("predict", "--model-dir", "empty", "-i", NEW, "-o", "out.csv")
    assert ended.code == 2
    assert "no model folder" in ended.err


def test_a_file_of_any_length_takes_the_same_memory(tiny_base: Path, run: Run) -> None:
    """Peak memory of the whole process for 2,500 and for 15,000 rows, by a model that is small beside them."""
    fruit = [{"text": f"{word} {number}", "label": word} for number in range(60) for word in ("apple", "pear")]
    train(run, write_rows(Path("fruit.csv"), fruit), "--model-name", tiny_base)
    peaks = []
    for count in (2_500, 15_000):
        file = write_rows(Path(f"{count}.csv"), [{"text": f"Where is card {n}?"} for n in range(count)])
        command = [
            sys.executable,
            "-m",
            "edgewise",
            "predict",
            "--model-dir",
            "made.model",
            "-i",
            file,
            "-o",
            "out.csv",
        ]
        watch = (
            "import resource, subprocess, sys; done = subprocess.run(sys.argv[1:], capture_output=True).returncode;"
            "print(done, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
        )
        said = subprocess.run(
            [sys.executable, "-c", watch, *map(str, command), "--overwrite"],
            env={"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.split()
        assert said[0] == "0"
        peaks.append(int(said[1]) / 1024)
    assert peaks[1] < peaks[0] + 25


def test_corrections_become_a_version_and_the_merged_rows_can_be_trained_on(run: Run) -> None:
    rows = rows_of(SAMPLE)[:120]
    first = train(run, write_rows(Path("mails.csv"), rows), "--overwrite")["dataset"]
    labels = sorted({row["label"] for row in rows})
    other = next(label for label in labels if label != rows[0]["label"])
    corrected = [
        {"text": rows[0]["text"], "label": other},
        {"text": rows[1]["text"], "label": ""},
        {"text": "A new one.", "label": other},
    ]
    merged = run(
        "dataset", "merge", "-d", "mails", "-i", write_rows(Path("corrected.csv"), corrected),
        "--output-csv", "merged.csv", "--json",
    )  # fmt: skip
    assert merged.code == 0, merged.err
    version = merged.json["version"]
    assert (version["parents"], version["size"]) == ([first], 120)
    changed = run("dataset", "diff", first[:5], "latest", "-d", "mails", "--json").json
    assert {what: len(changed[what]) for what in ("added", "removed", "relabelled")} == {
        "added": 1, "removed": 1, "relabelled": 1,
    }  # fmt: skip
    again = run("train", "-i", "merged.csv", "-o", "again.model", "--strategy", "features", "--json").json
    assert again["dataset"] == version["id"]
    listed = run("dataset", "list", "-d", "mails", "--json").json
    assert [one["id"] for one in listed] == [version["id"], first]
    assert listed[1]["models"] == ["made.model"]


def test_a_wrong_correction_changes_nothing(run: Run) -> None:
    train(run, write_rows(Path("mails.csv"), rows_of(SAMPLE)[:100]))
    Path("corrected.csv").write_text("text,label\nA new one.,no such label\n")
    ended = run("dataset", "merge", "-d", "mails", "-i", "corrected.csv", "--output-csv", "merged.csv")
    assert (ended.code, "Row 2" in ended.err) == (2, True)
    assert not Path("merged.csv").exists()
    assert len(run("dataset", "list", "-d", "mails", "--json").json) == 1
    assert "Known are: mails" in run("dataset", "list", "-d", "other").err
    assert run("dataset", "list").code == 2


def heed_interrupts() -> None:
    """Whoever runs the tests in the background of a shell has told all children to ignore them."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_an_interrupted_training_leaves_nothing_and_says_so(run: Run) -> None:
    command = [sys.executable, "-m", "edgewise", "train", "-i", str(SAMPLE), "-o", "made.model", "--strategy", "full"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONSAFEPATH": "1"}
    process = subprocess.Popen(
        command,
        env=environment,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=heed_interrupts,
    )
    assert process.stderr is not None
    assert "train: " in process.stderr.readline()  # it has begun
    process.send_signal(signal.SIGINT)
    out, err = process.communicate()
    assert (process.returncode, out) == (130, "")
    assert "Interrupted" in err
    assert "Traceback" not in err
    assert sorted(path.name for path in Path().iterdir() if path.name != "data") == []
