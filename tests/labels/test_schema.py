"""Labelling configs to heads, with Label Studio's own SDK as the oracle."""

import json
from pathlib import Path
from xml.sax.saxutils import quoteattr

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from label_studio_sdk.label_interface import LabelInterface

from edgewise.errors import SchemaError
from edgewise.labels.schema import Head, parse_schema

RECORDED = Path(__file__).parents[1] / "recorded"
NER = '<View><Labels name="label" toName="text"><Label value="PER"/><Label value="ORG"/></Labels>{}</View>'
TEXT = '<Text name="text" value="$text"/>'

# What XML 1.0 can carry in an attribute and gives back unchanged.
words = st.text(st.characters(exclude_categories=["Cs", "Cc", "Cn", "Co", "Zs", "Zl", "Zp"]), min_size=1, max_size=8)


def config(labels: str, *, attributes: str = "", text: str = TEXT) -> str:
    return f'<View><Labels name="label" toName="text" {attributes}>{labels}</Labels>{text}</View>'


def test_the_recorded_config_gives_its_head() -> None:
    body = json.loads((RECORDED / "setup.json").read_text())
    schema = parse_schema(body["schema"])
    assert schema.heads == (Head("label", "text", "text", ("PER", "ORG")),)
    assert schema.ignored == ()


def test_choices_beside_labels_are_heads_of_their_own() -> None:
    body = json.loads((RECORDED / "webhook_annotation_created_ui_choices.json").read_text())
    schema = parse_schema(body["project"]["label_config"])
    assert [(head.from_name, head.kind) for head in schema.heads] == [
        ("label", "spans"),
        ("topic", "choices"),
        ("sent", "choice"),
    ]
    assert schema.ignored == ()


@pytest.mark.parametrize(
    ("choices", "reason"),
    [
        ('<Choices name="c" toName="text"><Choice value="a"/></Choices>', "nothing to choose from"),
        ('<Choices name="c" toName="text" value="$options"/>', "come from each task"),
        (
            '<Choices name="c" toName="text" perRegion="true"><Choice value="a"/><Choice value="b"/></Choices>',
            "each region",
        ),
        (
            '<Choices name="c" toName="text" allowNested="true"><Choice value="a"/><Choice value="b"/></Choices>',
            "nested",
        ),
    ],
)
def test_choices_that_cannot_be_learnt_are_ignored_with_the_reason(choices: str, reason: str) -> None:
    schema = parse_schema(NER.format(TEXT + choices))
    assert len(schema.heads) == 1
    assert reason in schema.ignored[0]


def test_what_the_config_says_to_people_about_a_label_is_kept() -> None:
    head = parse_schema(config('<Label value="Person" alias="PER" hint="A human being"/><Label value="ORG"/>')).heads[0]
    assert head.labels == ("PER", "ORG")
    assert head.described == (("PER", "Person: A human being"),)


def test_one_choice_and_many_choices_are_different_lessons() -> None:
    xml = '<View><Choices name="c" toName="text"{}><Choice value="a"/><Choice value="b"/></Choices>' + TEXT + "</View>"
    one, many = (parse_schema(xml.format(how)) for how in ("", ' choice="multiple"'))
    assert one.digest != many.digest


def test_every_other_control_is_ignored_by_name() -> None:
    relations = '<Relations><Relation value="of"/></Relations><Filter name="f" toName="label"/>'
    more = f'<Rating name="stars" toName="text"/>{relations}'
    assert parse_schema(NER.format(TEXT + more)).ignored == ("Rating 'stars'", "Relations")


def test_several_heads_keep_the_order_of_the_config() -> None:
    xml = """<View><Header value="x"/><View><Labels name="b" toName="t2"><Label value="B"/></Labels></View>
    <Labels name="a" toName="t1"><Label value="A"/></Labels>
    <View><Text name="t1" value="$one"/></View><Text name="t2" value="$two"/></View>"""
    assert [(head.from_name, head.to_name, head.field) for head in parse_schema(xml).heads] == [
        ("b", "t2", "two"),
        ("a", "t1", "one"),
    ]


def test_of_several_targets_the_first_text_counts() -> None:
    xml = """<View><Labels name="l" toName="img,b,a"><Label value="A"/></Labels><Image name="img" value="$i"/>
    <Text name="a" value="$a"/><Text name="b" value="$b"/></View>"""
    assert parse_schema(xml).heads[0].to_name == "b"


@pytest.mark.parametrize(
    ("xml", "reason"),
    [
        (NER.format('<Text name="text" value="$text" valueType="url" resolver="csv|column=a"/>'), "shows a part"),
        (NER.format('<Text name="text" value="$text" encoding="base64"/>'), "is encoded"),
        (NER.format('<Text name="text" value="$a.b"/>'), "not a plain field"),
        (NER.format('<Text name="text" value="$a[0]"/>'), "not a plain field"),
        (NER.format('<Text name="text" value="fixed"/>'), "not a plain field"),
        (NER.format('<HyperText name="text" value="$text"/>'), "does not point at a Text"),
        (NER.format('<Text name="other" value="$text"/>'), "does not point at a Text"),
        (config(""), "no labels"),
        (config('<Label value="  "/><Label/>'), "no labels"),
        (config('<Label value="A"/>', attributes='value="$labels"'), "come from each task"),
    ],
)
def test_what_cannot_be_learned_is_refused_with_its_reason(xml: str, reason: str) -> None:
    with pytest.raises(SchemaError, match=reason) as raised:
        parse_schema(xml)
    assert "Labels 'label'" in raised.value.what
    assert "<Labels>" in raised.value.mend


def test_a_reason_is_kept_where_another_head_can_be_learned() -> None:
    other = (
        '<Labels name="more" toName="code"><Label value="A"/></Labels><Text name="code" value="$c" encoding="base64"/>'
    )
    assert parse_schema(NER.format(TEXT + other)).ignored == ("Labels 'more': Text 'code' is encoded",)


@pytest.mark.parametrize("attribute", ['valueType="url"', 'valuetype="URL"'])
def test_a_text_that_lies_at_an_address_is_learned_and_is_another_schema(attribute: str) -> None:
    plain = parse_schema(NER.format('<Text name="text" value="$text"/>'))
    remote = parse_schema(NER.format(f'<Text name="text" value="$text" {attribute}/>'))
    elsewhere = parse_schema(NER.format(f'<Text name="text" value="$url" {attribute}/>'))
    assert [head.by_address for head in (*plain.heads, *remote.heads)] == [False, True]
    assert len({plain.digest, remote.digest, elsewhere.digest}) == 3
    assert len({plain.heads[0].digest, remote.heads[0].digest}) == 2


def test_heads_on_texts_of_both_kinds_are_learned_together_unless_the_field_is_one() -> None:
    other = (
        '<Labels name="more" toName="link"><Label value="A"/></Labels><Text name="link" value="${}" valueType="url"/>'
    )
    found = parse_schema(NER.format(TEXT + other.format("url")))
    assert [(head.field, head.by_address) for head in found.heads] == [("text", False), ("url", True)]
    found = parse_schema(NER.format(TEXT + other.format("text")))
    assert [head.from_name for head in found.heads] == ["label"]
    assert "'text'" in found.ignored[0]


@pytest.mark.parametrize(
    "xml", ["", "text", "<View>", "<View/>", "\ud800", "\x00", '<View><Text name="t" value="$t"/></View>']
)
def test_a_config_without_anything_to_learn_is_refused(xml: str) -> None:
    with pytest.raises(SchemaError):
        parse_schema(xml)


# Ten entities of ten of the next: 10 GB when expanded.
BOMB = f"""<!DOCTYPE a [{"".join(f'<!ENTITY e{n} "{f"&e{n + 1};" * 10}">' for n in range(9))}<!ENTITY e9 "PER">]>"""


@pytest.mark.parametrize(
    "doctype",
    ['<!DOCTYPE a [<!ENTITY x "PER">]>', '<!DOCTYPE a SYSTEM "file:///etc/passwd">', "<!DOCTYPE View>", BOMB],
)
def test_a_doctype_is_refused(doctype: str) -> None:
    with pytest.raises(SchemaError, match="DOCTYPE"):
        parse_schema(doctype + NER.format(TEXT))


def test_a_config_nested_deeply_is_read() -> None:
    depth = 5000
    assert parse_schema("<View>" * depth + NER.format(TEXT) + "</View>" * depth).heads


def test_a_name_used_twice_makes_one_head() -> None:
    again = '<Labels name="label" toName="text"><Label value="X"/></Labels>'
    schema = parse_schema(NER.format(TEXT + again))
    assert [head.labels for head in schema.heads] == [("PER", "ORG")]
    assert schema.ignored == ("Labels 'label': the name is used twice",)


def test_labels_are_what_label_studio_writes_into_results() -> None:
    xml = config(
        '<Label value="Person" alias="PER"/><Label value="ORG" alias=""/><View><Label value="in a view"/></View>'
        '<Label value="PER"/><Label value=" blanks "/><Label value="a&amp;b"/><Label/>'
    )
    labels = parse_schema(xml).heads[0].labels
    assert labels == ("PER", "ORG", "in a view", " blanks ", "a&b")
    assert list(labels) == LabelInterface(xml).get_control("label").labels


@settings(deadline=None)  # the machine is shared
@given(st.lists(st.tuples(words, st.none() | words), min_size=1, max_size=6))
def test_any_labels_are_read_as_the_sdk_reads_them(pairs: list[tuple[str, str | None]]) -> None:
    tags = [f"<Label value={quoteattr(v)}" + (f" alias={quoteattr(a)}" if a else "") + "/>" for v, a in pairs]
    xml = config("".join(tags))
    assert list(parse_schema(xml).heads[0].labels) == LabelInterface(xml).get_control("label").labels


def test_a_models_label_finds_ours() -> None:
    head = parse_schema(
        config(
            '<Label value="Person" predicted_values="PER, person-name ,,"/><Label value="PER"/><Label value="Org "/>'
        )
    ).heads[0]
    assert head.predicted_values == (("PER", "Person"), ("person-name", "Person"))
    expected = {"PER": "Person", "Person": "Person", "person": "Person", "PERSON-NAME": "Person", "ORG": "Org "}
    assert {word: head.label_for(word) for word in expected} == expected
    assert head.label_for("MISC") is None
    assert head.label_for("") is None


def test_an_exact_label_goes_before_one_in_another_case() -> None:
    head = Head("label", "text", "text", ("per", "PER", "Per"))
    assert head.label_for("PER") == "PER"
    assert head.label_for("pEr") == "per"


def test_the_digest_changes_with_what_a_model_depends_on_alone() -> None:
    base = parse_schema(NER.format(TEXT))
    looks = parse_schema(config('<Label value="PER" background="red"/><Label value="ORG" hotkey="2"/>'))
    fewer = parse_schema(config('<Label value="PER"/>'))
    swapped = parse_schema(config('<Label value="ORG"/><Label value="PER"/>'))
    assert base.digest == looks.digest
    assert len({base.digest, fewer.digest, swapped.digest}) == 3
    assert Head("a", "t", "t", ("b", "c")).digest != Head("a", "t", "t", ("b,c",)).digest
