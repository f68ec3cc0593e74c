"""Labelling config XML to heads: what of a project we can learn, and by name what we cannot.

Knows the tags of Label Studio's labelling config. Knows nothing of annotations, tasks, models or the network.
Where the config leaves a choice (alias or value, nested tags) we do as label_studio_sdk's `LabelInterface` does,
because Label Studio checks what we send with it; a test compares the two.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from xml.etree.ElementTree import Element, ParseError

from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import fromstring

from edgewise.errors import SchemaError

_MEND = "Give the project a <Labels> with at least one <Label>, whose toName names a <Text value='$field'>."

# A key of the task's data and nothing else: no path into it ($a.b, $a[0]), no list of fields, no fixed text.
_PLAIN_FIELD = re.compile(r"\$([^\s$,.\[\]]+)")

# Tags with `name` and `toName` that annotate nothing themselves, as the SDK has it.
_NO_CONTROL_TAGS = {"Filter"}


@dataclass(frozen=True, slots=True)
class Head:
    """One `Labels` tag that we learn.

    field: the key of the task's data that holds the text. labels: as Label Studio writes them into results, so the
    alias where a label has one; in the config's order, unique. predicted_values: (a model's label, ours).
    """

    from_name: str
    to_name: str
    field: str
    labels: tuple[str, ...]
    predicted_values: tuple[tuple[str, str], ...] = ()

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
        """Hash of what a trained model depends on: the name and the labels in their order."""
        return _digest([self.from_name, *self.labels])


@dataclass(frozen=True, slots=True)
class Schema:
    """What we learn of a project, and what we leave alone, named for people."""

    heads: tuple[Head, ...]
    ignored: tuple[str, ...]

    @property
    def digest(self) -> str:
        """Hash of all heads. Versions of different digests are never compared."""
        return _digest([head.digest for head in self.heads])


def parse_schema(label_config: str) -> Schema:
    """The heads of a labelling config, in its order.

    Raises SchemaError if it is not XML, has a DOCTYPE or entities of its own, or holds nothing that we can learn.
    """
    root = _parse_xml(label_config)
    objects = {tag.attrib["name"]: tag for tag in root.iter() if _is_object(tag)}
    heads: dict[str, Head] = {}
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
    if control.tag.lower() != "labels":
        return _named(control)
    if control.get("value", "").startswith("$"):
        return f"{_named(control)}: its labels come from each task"
    targets = [objects[name] for name in control.attrib["toName"].split(",") if name in objects]
    text = next((tag for tag in targets if tag.tag.lower() == "text"), None)
    if text is None:
        return f"{_named(control)}: it does not point at a Text"
    field = _field(text)
    if isinstance(field, _Reason):
        return f"{_named(control)}: {field.why}"
    labels = list(_labels(control))
    if not labels:
        return f"{_named(control)}: it has no labels"
    names = tuple(dict.fromkeys(name for name, _ in labels))
    predicted = tuple(dict.fromkeys((theirs, name) for name, values in labels for theirs in values))
    return Head(control.attrib["name"], text.attrib["name"], field, names, predicted)


@dataclass(frozen=True, slots=True)
class _Reason:
    why: str


def _field(text: Element) -> str | _Reason:
    name = text.attrib["name"]
    if (text.get("valueType") or text.get("valuetype") or "text").lower() == "url":
        return _Reason(f"Text '{name}' holds a URL, not the text")
    if text.get("encoding", "none").lower() != "none":
        return _Reason(f"Text '{name}' is encoded")
    match = _PLAIN_FIELD.fullmatch(text.get("value", ""))
    return match[1] if match else _Reason(f"the value of Text '{name}' is not a plain field such as $text")


def _labels(control: Element) -> Iterator[tuple[str, list[str]]]:
    """Each label under a control, as results name it, with the model's labels that mean it; in the config's order."""
    waiting = list(reversed(control))
    while waiting:
        tag = waiting.pop()
        if _is_control(tag):
            continue  # its labels are its own
        name = tag.get("alias") or tag.get("value")
        if tag.tag == "Label" and name and name.strip():
            yield name, [word.strip() for word in tag.get("predicted_values", "").split(",") if word.strip()]
        waiting.extend(reversed(tag))


def _named(control: Element) -> str:
    return f"{control.tag} '{control.get('name')}'"


def _nothing_to_learn(ignored: list[str]) -> str:
    found = f" It has {'; '.join(ignored)}." if ignored else ""
    return f"The labelling config has no <Labels> on a <Text> that we can learn.{found}"


def _digest(parts: list[str]) -> str:
    canonical = json.dumps(parts, ensure_ascii=False, separators=(",", ":"))
    return blake2b(canonical.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()
