"""Which model answers for a head, and one uncertainty out of several heads; with tiny real models."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from edgewise.errors import Conflict
from edgewise.labels.regions import problems
from edgewise.labels.schema import parse_schema
from edgewise.labels.spans import Document
from edgewise.services.store import Project
from edgewise.verbs.models import models_of
from edgewise.verbs.scoring import Scored, combine, readable, scales_of, score
from edgewise.verbs.system import System, folder_name
from tests.verbs.conftest import CONFIG, Make, publish, schema

TWO_HEADS = """<View><Labels name="people" toName="text"><Label value="PER"/></Labels>
<Labels name="places" toName="text"><Label value="Town" predicted_values="LOC"/></Labels>
<Text name="text" value="$text"/></View>"""
ODD = ("", "  ", "\u0000", "👩‍👧 Ada", "e\u0301" * 300, "Ada Young went to Paris . " * 200, "\r\n\t", "北京", "﷽ ـــ")


def recorded(system: System, config: str = CONFIG) -> Project:
    return system.store.record_project(system.address, 7, "1700000000", label_config=config)


def scored(system: System, project: Project, texts: list[str]) -> Scored:
    found = parse_schema(project.label_config)
    version = system.store.version(project.key, project.serving) if project.serving else None
    models = models_of(system, project, found, version)
    return score(system, found, models, [{"text": text} for text in texts], lambda done: None)


def labels_of(scored: Scored) -> set[tuple[str, str]]:
    return {(region["from_name"], region["value"]["labels"][0]) for result in scored.results for region in result}


def combined_in_their_pool(*uncertainties: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    by_head = {str(number): row for number, row in enumerate(uncertainties)}
    return combine(by_head, scales_of(by_head))


quantiles = arrays.arrays(
    np.float64, st.tuples(st.just(3), st.integers(1, 30)), elements=st.floats(0, 1, allow_nan=False, width=32)
)


@given(quantiles)
def test_several_heads_count_by_their_place_in_the_pool_not_by_their_scale(uncertainties: NDArray[np.float64]) -> None:
    combined, leading = combined_in_their_pool(*uncertainties)
    factors = 1.0, 0.25, 0.5  # powers of two keep every order
    squeezed, _ = combined_in_their_pool(*(row * factor for row, factor in zip(uncertainties, factors, strict=True)))
    np.testing.assert_array_equal(combined, squeezed)
    assert ((combined > 0) & (combined < 1)).all()
    assert set(leading.tolist()) <= {0, 1, 2}


def test_the_head_that_is_least_sure_of_a_task_leads_and_a_single_head_speaks_for_itself() -> None:
    alone, leading = combined_in_their_pool(np.array([0.3, 0.9]))
    assert alone.tolist() == [0.3, 0.9]
    assert leading.tolist() == [0, 0]
    combined, leading = combined_in_their_pool(np.array([0.1, 0.2, 0.3]), np.array([0.009, 0.001, 0.002]))
    assert leading.tolist() == [1, 0, 0]
    assert combined[2] > combined[1]


def test_a_task_that_comes_later_is_put_on_the_scales_of_the_pool() -> None:
    pool = {"a": np.linspace(0, 1, 1001), "b": np.linspace(0, 0.01, 1001)}
    combined, leading = combine({"a": np.array([0.5]), "b": np.array([0.009])}, scales_of(pool))
    assert combined[0] == pytest.approx(0.7, abs=0.01)
    assert leading.tolist() == [1]


def test_a_task_that_one_head_cannot_read_is_named_and_the_others_are_kept() -> None:
    good, bad = readable(schema(), [{"text": "Ada"}, {"text": 7}, {}, {"text": "https://example.com/a"}, {"text": ""}])
    assert good == [0, 4]
    assert set(bad) == {1, 2, 3}
    assert all("'text'" in what for what in bad.values())


def test_before_the_first_training_nothing_is_predicted(offline: Make, tiny_base: Path) -> None:
    system = offline(baseline_model_name=str(tiny_base))
    cold = scored(system, recorded(system), ["Ada Young went to Paris .", "Nobody ."])
    assert cold.uncertainty is None
    assert cold.results == [[], []]
    np.testing.assert_allclose(np.linalg.norm(cold.embeddings, axis=1), 1, rtol=1e-5)
    assert all(reason.startswith("Cold start") for reason in cold.reasons)


def test_a_baseline_whose_labels_fit_predicts_at_once(
    offline: Make, tiny_tagger: Path, documents: list[Document]
) -> None:
    system = offline(baseline_model_name=str(tiny_tagger))
    texts = [document.text for document in documents[:10]]
    found = scored(system, recorded(system), texts)
    assert found.uncertainty is not None
    assert ((found.uncertainty >= 0) & (found.uncertainty < 1)).all()
    assert labels_of(found) == {("label", "PER"), ("label", "LOC")}


def test_a_project_of_two_heads_gets_the_regions_of_both_in_one_prediction(
    offline: Make, tiny_tagger: Path, documents: list[Document]
) -> None:
    system = offline(baseline_model_name=str(tiny_tagger))
    project = recorded(system, TWO_HEADS)
    texts = [document.text for document in documents[:10]]
    found = scored(system, project, texts)
    assert labels_of(found) == {("people", "PER"), ("places", "Town")}
    both = parse_schema(TWO_HEADS)
    for text, result in zip(texts, found.results, strict=True):
        assert problems({"result": result, "score": 0.5}, both, {"text": text}) == []
    assert found.uncertainty is not None
    assert len(found.reasons) == len(found.uncertainty) == 10


def test_texts_of_any_kind_are_scored_none_spoils_the_others(offline: Make, tiny_tagger: Path) -> None:
    system = offline(baseline_model_name=str(tiny_tagger))
    found = scored(system, recorded(system), list(ODD))
    assert found.uncertainty is not None
    assert np.isfinite(found.uncertainty).all()
    for text, result in zip(ODD, found.results, strict=True):
        assert problems({"result": result, "score": 0.5}, schema(), {"text": text}) == []


def test_labels_that_were_removed_are_never_predicted_by_an_old_version(
    offline: Make, tiny_base: Path, tiny_tagger: Path
) -> None:
    system = offline(baseline_model_name=str(tiny_base))
    project = recorded(system)
    publish(system, project, tiny_tagger, "first")
    served = system.by_key(project.key)
    text = ["Ada Young went to Paris ."]
    assert labels_of(scored(system, served, text)) == {("label", "PER"), ("label", "LOC")}
    changed = replace(served, label_config=CONFIG.replace('<Label value="PER"/>', '<Label value="DAY"/>'))
    after = scored(system, changed, text)
    assert after.results == [[]]
    assert after.uncertainty is None, "its head knows other labels: that is a cold start, never noise"


def test_a_version_whose_files_were_touched_is_not_loaded(offline: Make, tiny_base: Path, tiny_tagger: Path) -> None:
    system = offline(baseline_model_name=str(tiny_base))
    project = recorded(system)
    version = publish(system, project, tiny_tagger, "touched")
    (config,) = system.registry._project(folder_name(project)).glob(f"{version.id}/heads/*/config.json")
    config.write_text(config.read_text() + " ")
    with pytest.raises(Conflict, match="not those it was made with"):
        scored(system, system.by_key(project.key), ["Ada"])
