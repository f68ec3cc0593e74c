"""CoNLL: a block for each annotation, a line for each of our words, and comments for what words cannot say.

    # columns = ["word", "start", "end", "label"]

    # id = 12
    # data = {"text": "Ann likes Ulm"}
    # answer = {"annotator": 3, "ground_truth": false, "lead_time": 3.2, "was_cancelled": false}
    # labels = {"sentiment": ["positive"]}
    Ann     0   3   B-PER
    likes   4   9   O
    Ulm     10  13  B-LOC

Columns are separated by tabs: the word, its offsets in the text, a BIO tag for each Labels head that reads the same
field as the first. `# labels` has, by head, the choices, and the spans wherever tags do not give them back exactly: not
on word borders, overlapping, of a head with another field. So nothing is lost, and any reader of CoNLL still finds
words and tags, every span snapped outward to whole words. A task without annotations has a block without `# answer`.
A file from elsewhere is read too: without `# data` the words, joined by blanks, are the text, and the last column is
the tag.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple, TextIO

from edgewise.errors import InputError
from edgewise.files.csv_tables import not_utf8
from edgewise.files.records import Answer, Record, text_in
from edgewise.files.rows import bad_row
from edgewise.labels.schema import Head, Schema
from edgewise.labels.spans import Span, on_whole
from edgewise.labels.windows import tag_names, tags_of, words

_MEND = "Write the lines as an export does: word, start, end and a tag, with tabs between them."
_UNWRITABLE = frozenset("\t\n\r")


class Conll:
    """Writes and reads the records of a schema."""

    def __init__(self, schema: Schema) -> None:
        self._heads = schema.heads
        spans = [head for head in schema.heads if head.kind == "spans"]
        self._field = (spans or schema.heads)[0].field
        self._tagged = [
            head for head in spans if head.field == self._field and not _UNWRITABLE & set("".join(head.labels))
        ]
        self._reader = (spans or schema.heads)[0]  # of whose text the lines are

    def write(self, file: TextIO, records: Iterable[Record]) -> None:
        """All records, below a line that names the columns. file: UTF-8, `newline=""`."""
        names = ["word", "start", "end", *(head.from_name for head in self._tagged)]
        file.write(f"# columns = {_dump(names)}\n\n")
        for record in records:
            for answer in record.answers or (None,):
                file.writelines(f"{line}\n" for line in self._block(record, answer))
                file.write("\n")

    def _block(self, record: Record, answer: Answer | None) -> Iterator[str]:
        places = words(self._text(record.data))
        columns = []
        labels = {}
        for head in self._heads:
            spans = answer.spans.get(head.from_name, ()) if answer is not None else ()
            tags = _tags(spans, places, head) if head in self._tagged else None
            if tags is not None:
                columns.append(tags)
            if spans and (tags is None or _spans_of(tags, places.tolist(), head) != spans):
                labels[head.from_name] = _said(spans, head)
        yield f"# id = {record.task_id}"
        yield f"# data = {_dump(record.data)}"
        if answer is not None:
            yield f"# answer = {_dump(_flags(answer))}"
        if labels:
            yield f"# labels = {_dump(labels)}"
        text = self._text(record.data)
        for i, (start, end) in enumerate(places.tolist()):
            yield "\t".join([text[start:end], str(start), str(end), *(tags[i] for tags in columns)])

    def _text(self, data: Mapping[str, Any]) -> str:
        return text_in(data, self._reader)

    def read(self, path: Path) -> Iterator[Record]:
        """The records of a file. DataError for a block that cannot be read, by the line it is in."""
        blocks = enumerate(_blocks(path), start=1)
        for key, group in groupby(blocks, key=lambda one: one[1].comments.get("id", -one[0])):
            theirs = list(group)
            read = [self._answer(block) for _, block in theirs]
            task_id = key if isinstance(key, int) and key >= 0 else theirs[0][0]
            yield Record(task_id, read[0][0], tuple(answer for _, answer in read if answer is not None))

    def _answer(self, block: "_Block") -> tuple[Mapping[str, Any], Answer | None]:
        """The data of a block, and what it answers."""
        data = block.comments.get("data")
        if not isinstance(data, dict):
            return self._foreign(block)
        places = _offsets(block, self._text(data))
        flags = block.comments.get("answer")
        if flags is None:
            return data, None
        said = block.comments.get("labels")
        spans = {}
        for head in self._heads:
            found: tuple[Span, ...] = ()
            if isinstance(said, dict) and head.from_name in said:
                found = _unsaid(block, said[head.from_name], head, text_in(data, head))
            elif head in self._tagged:
                found = _spans_of(_tags_in(block, 3 + self._tagged.index(head), head), places, head)
            if found:
                spans[head.from_name] = found
        return data, _with_flags(block, spans, flags)

    def _foreign(self, block: "_Block") -> tuple[Mapping[str, Any], Answer]:
        """A block of words and tags alone."""
        places = _joined(block)
        data = {self._field: " ".join(cells[0] for _, cells in block.lines)}
        heads = self._tagged[:1]
        found = {head.from_name: _spans_of(_tags_in(block, -1, head), places, head) for head in heads}
        return data, Answer({name: spans for name, spans in found.items() if spans})


class _Block(NamedTuple):
    """Lines between blank ones. number: of the first line; lines: their numbers and cells."""

    number: int
    comments: dict[str, Any]
    lines: list[tuple[int, list[str]]]


def _blocks(path: Path) -> Iterator[_Block]:
    block = _Block(1, {}, [])
    for number, line in _lines(path):
        if not line:
            if block.lines or "data" in block.comments:
                yield block
            block = _Block(number + 1, {}, [])
        elif line.startswith("# "):
            name, equals, value = line[2:].partition(" = ")
            if equals:
                block.comments[name] = _value(value)
        elif not line.startswith("-DOCSTART-"):
            block.lines.append((number, line.split("\t") if "\t" in line else line.split()))
    if block.lines or "data" in block.comments:
        yield block


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    position = 0
    with path.open("rb") as file:
        for number, raw in enumerate(file, start=1):
            try:
                text = raw.decode("utf-8-sig" if position == 0 else "utf-8")
            except UnicodeDecodeError as error:
                raise not_utf8(path.name, position + error.start, number) from None
            position += len(raw)
            yield number, text.rstrip("\r\n")
    if not position:
        raise InputError(f"The file '{path.name}' is empty.", "Name another file.")


def _value(value: str) -> Any:
    """A comment's value: JSON if it is, else as it stands: files from elsewhere have comments of their own."""
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return value


def _dump(value: Any) -> str:
    """JSON that UTF-8 can hold, half characters as escapes."""
    text = json.dumps(value, ensure_ascii=False, sort_keys=True)
    try:
        text.encode()
    except UnicodeEncodeError:
        return json.dumps(value, sort_keys=True)
    return text


def _flags(answer: Answer) -> dict[str, Any]:
    return {
        "annotator": answer.annotator,
        "ground_truth": answer.ground_truth,
        "lead_time": answer.lead_time,
        "was_cancelled": answer.was_cancelled,
    }


def _with_flags(block: _Block, spans: dict[str, tuple[Span, ...]], flags: Any) -> Answer:
    try:
        return Answer(spans, **flags)
    except TypeError:
        raise bad_row(block.number, "begins a block whose `# answer` is none of ours", _MEND) from None


def _said(spans: Sequence[Span], head: Head) -> list[Any]:
    if head.kind == "spans":
        return [[span.start, span.end, span.label] for span in spans]
    return [span.label for span in spans]


def _unsaid(block: _Block, value: Any, head: Head, text: str) -> tuple[Span, ...]:
    """What a head's comment says. DataError if it is not of its form."""
    try:
        if head.kind == "spans":
            found = tuple(Span(start, end, label) for start, end, label in value)
            good = all(0 <= span.start < span.end <= len(text) for span in found)
        else:
            found = tuple(on_whole(text, label) for label in value)
            good = isinstance(value, list)
    except (TypeError, ValueError):
        good, found = False, ()
    if not good or any(span.label not in head.labels for span in found):
        raise bad_row(
            block.number,
            f"begins a block whose `# labels` give '{head.from_name}' a label not in the set or a span beyond the text",
            "Use the labels of the labelling config, and offsets inside the text.",
        )
    return found


def _tags(spans: Sequence[Span], places: Any, head: Head) -> list[str]:
    names = tag_names(head.labels)
    return [names[tag] for tag in tags_of(spans, places, head.labels)]


def _spans_of(tags: Sequence[str], places: Sequence[Sequence[int]], head: Head) -> tuple[Span, ...]:
    """The spans that BIO tags say; an I- that continues nothing begins one."""
    found: list[Span] = []
    inside = ""
    for tag, (start, end) in zip(tags, places, strict=True):
        prefix, _, label = tag.partition("-")
        if prefix == "O":
            inside = ""
        elif prefix == "I" and label == inside:
            found[-1] = Span(found[-1].start, end, label)
        else:
            found.append(Span(start, end, label))
            inside = label
    return tuple(found)


def _tags_in(block: _Block, column: int, head: Head) -> list[str]:
    allowed = set(tag_names(head.labels))
    tags = []
    for number, cells in block.lines:
        if column >= len(cells) or cells[column] not in allowed:
            raise bad_row(
                number,
                f"has no tag of '{head.from_name}' that is in the set",
                f"Use {', '.join(sorted(allowed)[:20])}.",
            )
        tags.append(cells[column])
    return tags


def _offsets(block: _Block, text: str) -> list[tuple[int, int]]:
    """Where the words are, by their own columns. DataError if the text has something else there."""
    found = []
    for number, cells in block.lines:
        try:
            start, end = int(cells[1]), int(cells[2])
        except (IndexError, ValueError):
            raise bad_row(number, "has no offsets", _MEND) from None
        if text[start:end] != cells[0]:
            raise bad_row(number, "has a word that the text does not have at its offsets", _MEND)
        found.append((start, end))
    return found


def _joined(block: _Block) -> list[tuple[int, int]]:
    """Where words are that blanks join."""
    found = []
    at = 0
    for _, cells in block.lines:
        found.append((at, at + len(cells[0])))
        at += len(cells[0]) + 1
    return found
