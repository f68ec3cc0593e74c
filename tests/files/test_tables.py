"""Reading tables: every format, and every way in which a file can be wrong."""

import io
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgewise.errors import DataError, EdgewiseError, InputError
from edgewise.files.csv_tables import writer
from edgewise.files.rows import CELL_LIMIT, Row, Unique, check_label
from edgewise.files.tables import format_of, table
from tests.files.material import TEXTS

CELLS = TEXTS.map(lambda text: text.replace("\0", "").encode("utf-8", "ignore").decode())
TABLES = st.integers(1, 4).flatmap(
    lambda width: st.tuples(
        st.lists(CELLS.filter(str.strip), min_size=width, max_size=width, unique=True),
        st.lists(st.lists(CELLS, min_size=width, max_size=width), max_size=4),
    )
)
Write = Callable[[str, str | bytes], Path]


@pytest.fixture
def put(tmp_path: Path) -> Write:
    """Write a file of this name."""

    def make(name: str, content: str | bytes) -> Path:
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return make


def values(path: Path, *columns: str) -> list[dict[str, str]]:
    return [row.values for row in table(path, columns=columns)]


def complaint(path: Path, *columns: str) -> EdgewiseError:
    """What is said of a file that cannot be read; never what stands in it."""
    with pytest.raises(InputError) as caught:
        list(table(path, columns=columns))
    assert "secret" not in str(caught.value)
    assert caught.value.mend
    return caught.value


@settings(deadline=None)
@given(TABLES)
def test_what_the_writer_writes_the_reader_reads(made: tuple[list[str], list[list[str]]]) -> None:
    columns, rows = made
    file = io.StringIO(newline="")
    out = writer(file, columns)
    for cells in rows:
        out.write(dict(zip(columns, cells, strict=True)))
    with TemporaryDirectory() as folder:
        path = Path(folder) / "t.csv"
        path.write_bytes(file.getvalue().encode())
        found = table(path, columns=columns)
        assert found.columns == tuple(columns)
        assert [list(row.values.values()) for row in found] == rows


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("bom", [b"", b"\xef\xbb\xbf"])
def test_delimiters_line_ends_and_a_bom_are_found_out(put: Write, delimiter: str, end: str, bom: bytes) -> None:
    lines = ["id", "text"], ["1", '"a, b; c ""d"""'], ["2", "é"]
    path = put("t.csv", bom + end.join(delimiter.join(line) for line in lines).encode())
    assert values(path, "text") == [{"id": "1", "text": 'a, b; c "d"'}, {"id": "2", "text": "é"}]


def test_a_delimiter_that_gives_the_needed_columns_wins(put: Write) -> None:
    path = put("t.csv", "a,b;text\n1,2;x\n3,4;y\n")
    assert [row["text"] for row in values(path, "text")] == ["x", "y"]


def test_rows_are_counted_as_a_spreadsheet_does(put: Write) -> None:
    path = put("t.csv", 'text\n"two\nlines"\n\nlast\n')
    assert [row.number for row in table(path)] == [2, 4]


def test_one_column_with_commas_in_it_is_not_split(put: Write) -> None:
    assert "Row 2 has too many cells: 2, and the header has 1" in complaint(put("t.csv", "text\nhello, world\n")).what
    assert values(put("u.csv", 'text\n"hello, world"\n')) == [{"text": "hello, world"}]


def test_a_missing_column_is_named_with_those_that_are_there(put: Write) -> None:
    said = complaint(put("t.csv", "id,text\n1,secret\n"), "body")
    assert said.what == "The file has no column 'body'; it has 'id', 'text'."


def test_two_columns_of_one_name_are_refused(put: Write) -> None:
    assert "Two columns are named 'a'" in complaint(put("t.csv", "a,a\n1,2\n")).what


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ("id,text\n1,fine\n2\n", "Row 3 has too few cells: 1, and the header has 2."),
        ("id,text\n1,secret,3\n", "Row 2 has too many cells: 3, and the header has 2."),
        ('id,text\n1,"secret\n2,x\n', "Row 2 opens a quote that is never closed (line 2 of the file)."),
        ('id,text\n1,"a"secret\n', "Row 2 has text behind a closing quote (line 2 of the file)."),
        ('id,text\n1,"a\nb"\n2,sec\0ret\n', "Row 3 has a NUL byte (line 4 of the file)."),
    ],
)
def test_a_broken_row_is_named_with_what_is_wrong(put: Write, content: str, what: str) -> None:
    assert complaint(put("t.csv", content)).what == what


def test_another_encoding_is_told_with_its_place_and_how_to_convert(put: Write) -> None:
    said = complaint(put("t.csv", "id,text\n1,ok\n2,secret caf\xe9\n".encode("cp1252")))
    assert said.what == "'t.csv' is not UTF-8: byte 25 (in line 3) is something else."
    assert "iconv -f WINDOWS-1252 -t UTF-8" in said.mend
    assert complaint(put("u.csv", "id,text\n1,secret\n".encode("utf-16"))).what == "'u.csv' is UTF-16."
    assert "old Macs" in complaint(put("v.csv", "id,text\r1,secret\r")).what


def test_a_cell_of_50_megabytes_is_named_by_row_and_column(put: Write) -> None:
    long = "secret" * (50_000_000 // 6)
    said = complaint(put("t.csv", f'id,text,more\n1,a,b\n2,"{long}",c\n'))
    assert said.what == f"Row 3 has more than {CELL_LIMIT:,} characters in the column 'text'."
    said = complaint(put("t.jsonl", json.dumps({"text": "a"}) + "\n" + json.dumps({"text": long}) + "\n"))
    assert said.what.startswith("Row 2 is longer than ")
    said = complaint(put("t.json", json.dumps([{"data": {"text": "a"}}, {"data": {"text": long}}])))
    assert said.what == f"Row 2 has more than {CELL_LIMIT:,} characters in the column 'text'."


@pytest.mark.parametrize("name", ["t.csv", "t.jsonl", "t.json", "t.parquet", "t"])
def test_an_empty_file_and_none_at_all_are_told_apart(put: Write, tmp_path: Path, name: str) -> None:
    assert "is empty" in complaint(put(name, "")).what
    assert "There is no file 'nowhere.csv'" in complaint(tmp_path / "nowhere.csv").what


def test_a_header_alone_is_a_table_without_rows(put: Write) -> None:
    assert values(put("t.csv", "id,text\n"), "text") == []


def test_a_spreadsheet_is_not_read_as_text(put: Write) -> None:
    assert "is a spreadsheet" in complaint(put("t.xlsx", b"PK\x03\x04secret")).what


def test_json_lines_have_the_columns_of_all_lines(put: Write) -> None:
    path = put("t.jsonl", '{"text": "a\\u00e9", "n": 1}\n\n{"text": null, "tags": ["x"], "ok": true}\r\n')
    assert values(path, "text") == [
        {"text": "aé", "n": "1", "tags": "", "ok": ""},
        {"text": "", "n": "", "tags": '["x"]', "ok": "true"},
    ]
    assert [row.number for row in table(path)] == [1, 3]


@pytest.mark.parametrize("line", ["secret", '["secret"]', '{"text": "secret"', '{"text": "secret \\ud800"}', "NaN"])
def test_a_line_that_is_no_object_is_named(put: Write, line: str) -> None:
    assert complaint(put("t.jsonl", '{"text": "fine"}\n' + line + "\n")).what.startswith("Row 2 ")


def test_an_export_of_label_studio_gives_its_data_and_the_whole_task(put: Write) -> None:
    tasks = [{"id": 4, "data": {"text": "a"}, "annotations": []}, {"id": 9, "data": {"text": "b", "n": 1.5}}]
    for indent in (None, 2):
        path = put("export.json", json.dumps(tasks, indent=indent))
        rows = list(table(path, columns=["text"]))
        assert [row.values for row in rows] == [{"text": "a", "n": ""}, {"text": "b", "n": "1.5"}]
        assert [row.task for row in rows] == tasks


@pytest.mark.parametrize("cut", [1, 2, 20, 60, 67])
def test_an_export_that_is_cut_off_is_told(put: Write, cut: int) -> None:
    whole = json.dumps([{"data": {"text": "secret"}}, {"data": {"text": "secret too"}}, 12])
    said = complaint(put("export.json", whole[:-cut]))
    assert said.what.startswith("Row ")


@given(st.lists(st.dictionaries(st.sampled_from(["text", "n"]), st.text() | st.integers() | st.none(), min_size=1)))
@settings(deadline=None)
def test_a_list_is_read_however_it_is_laid_out(objects: list[dict[str, object]]) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "t.json"
        tasks = [{"data": one} for one in objects]
        for indent, ascii_only in ((None, True), (3, False)):
            try:
                path.write_text(json.dumps(tasks, indent=indent, ensure_ascii=ascii_only), encoding="utf-8", newline="")
            except UnicodeEncodeError:
                continue
            assert [row.task for row in table(path).source.rows()] == tasks


def test_parquet_and_dataset_folders_are_read(tmp_path: Path) -> None:
    made = pa.table({"text": ["a", None, "c"], "n": [1, 2, None], "label": pa.array([1, 0, -1])})
    pq.write_table(made, tmp_path / "t.parquet")
    rows = [{"text": "a", "n": "1"}, {"text": "", "n": "2"}, {"text": "c", "n": ""}]
    assert [{name: row[name] for name in ("text", "n")} for row in values(tmp_path / "t.parquet", "text")] == rows
    folder = tmp_path / "set"
    folder.mkdir()
    for number, part in enumerate((made.slice(0, 2), made.slice(2))):
        with pa.ipc.new_stream(str(folder / f"{number}.arrow"), made.schema) as stream:
            stream.write_table(part)
    (folder / "state.json").write_text('{"_data_files": [{"filename": "0.arrow"}, {"filename": "1.arrow"}]}')
    (folder / "dataset_info.json").write_text(
        '{"features": {"label": {"names": ["no", "yes"], "_type": "ClassLabel"}}}'
    )
    assert [row["label"] for row in values(folder, "text")] == ["yes", "no", ""]
    assert [row.number for row in table(folder)] == [1, 2, 3]


def test_folders_and_files_that_are_damaged_are_told(put: Write, tmp_path: Path) -> None:
    assert "damaged" in complaint(put("t.parquet", "secret" * 10)).what
    (tmp_path / "plain").mkdir()
    assert "no dataset of Hugging Face" in complaint(tmp_path / "plain").what
    (tmp_path / "splits").mkdir()
    (tmp_path / "splits" / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    assert "several splits: train, test" in complaint(tmp_path / "splits").what


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.TSV", b"a\tb", "csv"),
        ("a.txt", b"a,b", "csv"),
        ("a.json", b" \n[{}]", "label-studio"),
        ("a.json", b'{"a": 1}\n', "jsonl"),
        ("a", b"PAR1", "parquet"),
    ],
)
def test_the_format_is_told_by_suffix_and_beginning(put: Write, name: str, content: bytes, expected: str) -> None:
    assert format_of(put(name, content)) == expected


def test_a_double_id_is_told_with_the_row_that_had_it_first() -> None:
    unique = Unique("id")
    unique.check(Row(2, {"id": "secret"}))
    with pytest.raises(DataError, match="Row 7 has the same 'id' as row 2") as caught:
        unique.check(Row(7, {"id": "secret"}))
    assert "secret" not in str(caught.value)
    with pytest.raises(DataError, match="Row 8 has no 'id'"):
        unique.check(Row(8, {"id": ""}))


def test_a_label_outside_the_set_is_told_with_the_set() -> None:
    assert check_label(Row(2, {"label": "a"}), "label", ["a", "b"]) == "a"
    with pytest.raises(DataError, match="Row 2 has a label that is not in the set") as caught:
        check_label(Row(2, {"label": "secret"}), "label", ["a", "b"])
    assert "'a', 'b'" in caught.value.mend
    assert "secret" not in str(caught.value)


MEASURE = """
import re, sys
from pathlib import Path
from edgewise.files.tables import table
def peak():  # of this process: what getrusage tells is also the parent's
    return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) / 1024
rows = iter(table(sys.argv[1], columns=["text"]))
for _ in range(2000): next(rows)
before = peak()
count = 2000 + sum(1 for _ in rows)
print(count, peak() - before)
"""


@pytest.mark.parametrize("name", ["t.csv", "t.jsonl", "t.json", "t.parquet"])
def test_a_hundred_thousand_rows_are_read_in_constant_memory(tmp_path: Path, name: str) -> None:
    rows = [{"id": str(n), "text": f"row {n} with some words, and more of them, as texts have"} for n in range(100_000)]
    path = tmp_path / name
    if name == "t.csv":
        with path.open("w", encoding="utf-8", newline="") as file:
            out = writer(file, ["id", "text"])
            for row in rows:
                out.write(row)
    elif name == "t.parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif name == "t.jsonl":
        path.write_text("\n".join(map(json.dumps, rows)))
    else:
        path.write_text(json.dumps([{"data": row} for row in rows]))
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, str(path)], capture_output=True, text=True, check=True, timeout=120
    )
    count, growth_mib = done.stdout.split()
    assert int(count) == 100_000
    assert float(growth_mib) < (32 if name == "t.parquet" else 4)  # Arrow's allocator keeps some, of any file
