"""Labelling config XML to heads: what of a project we can learn, and by name what we cannot.

Knows the tags of Label Studio's labelling config. Knows nothing of annotations, tasks, models or the network.
Where the config leaves a choice (alias or value, nested tags) we do as label_studio_sdk's `LabelInterface` does,
because Label Studio checks what we send with it; a test compares the two.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Literal
from xml.etree.ElementTree import Element, ParseError

from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import fromstring

from edgewise.errors import SchemaError

Kind = Literal["spans", "choice", "choices"]

_MEND = (
    "Give the project a <Labels> with at least one <Label>, or <Choices> with two <Choice>, whose toName names a "
    "<Text value='$field'>."
)
_LABEL_TAGS = {"labels": "Label", "choices": "Choice"}  # control tag -> the tag of its labels

# A key of the task's data and nothing else: no path into it ($a.b, $a[0]), no list of fields, no fixed text.
_PLAIN_FIELD = re.compile(r"\$([^\s$,.\[\]]+)")

# Tags with `name` and `toName` that annotate nothing themselves, as the SDK has it.
_NO_CONTROL_TAGS = {"Filter"}


@dataclass(frozen=True, slots=True)
class Head:
    """One `Labels` or `Choices` tag that we learn.

    field: the key of the task's data that holds the text. labels: as Label Studio writes them into results, so the
    alias where a label has one; in the config's order, unique. predicted_values: (a model's label, ours).
    kind: "spans" of a Labels tag, one "choice", or any number of "choices". described: (label, what the config says of
    it to people), for labels that it says something of. by_address: the field holds the text's address, not the text.
    """

    from_name: str
    to_name: str
    field: str
    labels: tuple[str, ...]
    predicted_values: tuple[tuple[str, str], ...] = ()
    kind: Kind = "spans"
    described: tuple[tuple[str, str], ...] = ()
    by_address: bool = False

    def label_for(self, predicted: str) -> str | None:
        """Our label for a model's: by `predicted_values`, else the same word, else in another case. None: none fits."""
        named = dict(self.predicted_values)
        if predicted in named:
            return named[predicted]
        if predicted in self.labels:
            return predicted
        folded = {label.strip().casefold(): label for label in reversed(self.labels)}
        folded |= {theirs.casefold(): ours for theirs, ours in reversed(self.predicted_values)}
        return folded.get(predicted.strip().casefold())

    @property
    def digest(self) -> str:
        """Hash of what a trained model depends on: the name, the kind, the labels in their order, and which field names
        a text that lies elsewhere."""
        kind = [] if self.kind == "spans" else [[self.kind]]
        return digest([self.from_name, *self.labels, *kind, *([["by address", self.field]] if self.by_address else [])])


@dataclass(frozen=True, slots=True)
class Schema:
    """What we learn of a project, and what we leave alone, named for people."""

    heads: tuple[Head, ...]
    ignored: tuple[str, ...]

    @property
    def digest(self) -> str:
        """Hash of all heads. Versions of different digests are never compared."""
        return digest([head.digest for head in self.heads])


def parse_schema(label_config: str) -> Schema:
    """The heads of a labelling config, in its order.

    Raises SchemaError if it is not XML, has a DOCTYPE or entities of its own, or holds nothing that we can learn.
    """
    root = _parse_xml(label_config)
    objects = {tag.attrib["name"]: tag for tag in root.iter() if _is_object(tag)}
    heads: dict[str, Head] = {}
    by_address: dict[str, bool] = {}  # of each field
    ignored: list[str] = []
    for control in root.iter():
        if control.tag == "Relations":
            ignored.append("Relations")
        if not _is_control(control):
            continue
        found = _head(control, objects)
        if isinstance(found, str):
            ignored.append(found)
        elif found.from_name in heads:
            ignored.append(f"{_named(control)}: the name is used twice")
        elif by_address.setdefault(found.field, found.by_address) != found.by_address:
            ignored.append(f"{_named(control)}: one Text shows '{found.field}', another what lies at that address")
        else:
            heads[found.from_name] = found
    if not heads:
        raise SchemaError(_nothing_to_learn(ignored), _MEND)
    return Schema(tuple(heads.values()), tuple(ignored))


def _parse_xml(label_config: str) -> Element:
    try:
        root: Element = fromstring(label_config, forbid_dtd=True)
    except DefusedXmlException:
        raise SchemaError(
            "The labelling config has a DOCTYPE or entities of its own, which we do not expand.",
            "Take the DOCTYPE out of the labelling config.",
        ) from None
    except (ParseError, ValueError):
        raise SchemaError("The labelling config is not well-formed XML.", _MEND) from None
    return root


def _is_control(tag: Element) -> bool:
    return bool(tag.get("name") and tag.get("toName") and tag.tag not in _NO_CONTROL_TAGS)


def _is_object(tag: Element) -> bool:
    return bool(tag.get("name") and (tag.get("value") or tag.get("valueList")) and not tag.get("toName"))


def _head(control: Element, objects: Mapping[str, Element]) -> Head | str:
    """The head of a control tag; a text that names it and says why, if it is none."""
    if control.tag.lower() not in _LABEL_TAGS:
        return _named(control)
    unlearnable = _unlearnable(control)
    if unlearnable:
        return f"{_named(control)}: {unlearnable}"
    targets = [objects[name] for name in control.attrib["toName"].split(",") if name in objects]
    text = next((tag for tag in targets if tag.tag.lower() == "text"), None)
    if text is None:
        return f"{_named(control)}: it does not point at a Text"
    field = _field(text)
    if isinstance(field, _Reason):
        return f"{_named(control)}: {field.why}"
    labels = list(_labels(control))
    names = tuple(dict.fromkeys(label.name for label in labels))
    kind = _kind(control)
    if not names:
        return f"{_named(control)}: it has no labels"
    if kind == "choice" and len(names) < 2:
        return f"{_named(control)}: there is nothing to choose from"
    predicted = tuple(dict.fromkeys((theirs, label.name) for label in labels for theirs in label.predicted_values))
    described = tuple({label.name: label.description for label in reversed(labels) if label.description}.items())
    named = (control.attrib["name"], text.attrib["name"])
    return Head(*named, field, names, predicted, kind, described[::-1], _by_address(text))


def _kind(control: Element) -> Kind:
    if control.tag.lower() == "labels":
        return "spans"
    return "choices" if control.get("choice", "single").strip().lower() == "multiple" else "choice"


def _unlearnable(control: Element) -> str | None:
    """Why a tag of a kind that we know is none that we can learn."""
    if control.get("value", "").startswith("$"):
        return "its labels come from each task"
    for attribute, what in (("perRegion", "of each region"), ("perItem", "of each item")):
        if control.get(attribute, "false").lower() == "true":
            return f"it is asked {what}"
    return "its choices are nested" if control.get("allowNested", "false").lower() == "true" else None


@dataclass(frozen=True, slots=True)
class _Reason:
    why: str


def _field(text: Element) -> str | _Reason:
    name = text.attrib["name"]
    if _by_address(text) and text.get("resolver"):
        return _Reason(f"Text '{name}' shows a part of what lies at its address")
    if text.get("encoding", "none").lower() != "none":
        return _Reason(f"Text '{name}' is encoded")
    match = _PLAIN_FIELD.fullmatch(text.get("value", ""))
    return match[1] if match else _Reason(f"the value of Text '{name}' is not a plain field such as $text")


def _by_address(text: Element) -> bool:
    return (text.get("valueType") or text.get("valuetype") or "text").lower() == "url"


@dataclass(frozen=True, slots=True)
class _Label:
    name: str
    predicted_values: tuple[str, ...]
    description: str


def _labels(control: Element) -> Iterator[_Label]:
    """Each label under a control, as results name it, with the model's labels that mean it; in the config's order."""
    kind = _LABEL_TAGS[control.tag.lower()]
    waiting = list(reversed(control))
    while waiting:
        tag = waiting.pop()
        if _is_control(tag):
            continue  # its labels are its own
        name = tag.get("alias") or tag.get("value")
        if tag.tag == kind and name and name.strip():
            predicted = tuple(word.strip() for word in tag.get("predicted_values", "").split(",") if word.strip())
            yield _Label(name, predicted, _description(tag, name))
        waiting.extend(reversed(tag))


def _description(tag: Element, name: str) -> str:
    """What people are told of a label: the value that they see where results have an alias, and its hint."""
    shown = tag.get("value", "").strip()
    parts = [shown if shown != name else "", tag.get("hint", "").strip()]
    return ": ".join(part for part in parts if part)


def _named(control: Element) -> str:
    return f"{control.tag} '{control.get('name')}'"


def _nothing_to_learn(ignored: list[str]) -> str:
    found = f" It has {'; '.join(ignored)}." if ignored else ""
    return f"The labelling config has no <Labels> or <Choices> on a <Text> that we can learn.{found}"


def digest(parts: Sequence[object]) -> str:
    """16 hex characters that stand for these JSON values in this order."""
    canonical = json.dumps(parts, ensure_ascii=False, separators=(",", ":"))
    return blake2b(canonical.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()
