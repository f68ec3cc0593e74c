"""Heads made from any base: which rows they keep, how fast they learn, and the layer that averages."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from edgewise.labels.windows import tag_names
from edgewise.learning.baseline import PACKAGED, load_pretrained, load_tokenizer
from edgewise.learning.training.heads import last_layer, new_model
from edgewise.learning.training.loop import Pace, layers_of, optimizers
from edgewise.learning.training.recipe import Plan
from tests.learning.conftest import HEAD, MENTIONS, TOPIC


def test_what_a_head_knows_of_a_label_moves_to_its_new_place(tiny_tagger: Path) -> None:
    """The same number of tags in another order would otherwise keep rows that mean something else."""
    old = new_model(str(tiny_tagger), HEAD).state_dict()["classifier.weight"]
    new = new_model(str(tiny_tagger), replace(HEAD, labels=("LOC", "PER"))).state_dict()["classifier.weight"]
    assert tag_names(("LOC", "PER"))[1] == "B-LOC"
    assert new[[0, 3, 4, 1, 2]].equal(old)
    other = new_model(str(tiny_tagger), replace(HEAD, labels=("X", "Y"))).state_dict()["classifier.weight"]
    assert other[0].equal(old[0])
    assert not any(other[i].equal(old[i]) for i in range(1, 5))


def test_word_embeddings_stay_and_the_head_learns_five_times_as_fast(tiny_base: Path) -> None:
    model = new_model(str(tiny_base), HEAD)
    plan = Plan("freeze:0", 1e-4, 10, 0, None, "", head_factor=5)
    optimizer, _ = optimizers(model, plan, 0.01, Pace(10, math.inf))
    rates = {id(p): group["initial_lr"] for group in optimizer.param_groups for p in group["params"]}
    assert id(model.get_input_embeddings().weight) not in rates
    assert rates[id(model.classifier.weight)] == pytest.approx(5e-4)
    assert rates[id(model.bert.encoder.layer[0].output.dense.weight)] == pytest.approx(1e-4)


def test_the_averaging_layer_is_the_mean_over_tokens_in_a_plain_classifier_of_transformers() -> None:
    """What the labels are read from is the mean that sentence encoders are trained for, normalised."""
    texts = ["I lost my card.", "Where is the money that I sent to my brother in Lisbon three days ago?"]
    tokens = load_tokenizer(PACKAGED)(texts, padding=True, return_tensors="pt")
    held = []
    model = new_model(PACKAGED, TOPIC).eval()
    last_layer(model).register_forward_pre_hook(lambda module, given: held.append(given[0]))
    with torch.inference_mode():
        model(**tokens)
        hidden = load_pretrained("AutoModel", PACKAGED).eval()(**tokens).last_hidden_state
    mask = tokens["attention_mask"].unsqueeze(-1)
    mean = (hidden * mask).sum(dim=1) / mask.sum(dim=1)
    expected = torch.tanh(0.5 * torch.nn.functional.layer_norm(mean, mean.shape[-1:]))
    np.testing.assert_allclose(held[0].numpy(), expected.numpy(), atol=0.02)
    assert len(layers_of(model)) == 6
    assert model.config.num_hidden_layers == 7


def test_the_averaging_layer_is_never_put_on_twice_and_never_under_a_head_for_spans(
    tiny_base: Path, tmp_path: Path
) -> None:
    new_model(str(tiny_base), TOPIC).save_pretrained(tmp_path)
    again, spans = new_model(str(tmp_path), MENTIONS), new_model(str(tmp_path), HEAD)
    assert (again.config.num_hidden_layers, again.config.averages) == (3, True)
    assert (spans.config.num_hidden_layers, spans.config.averages) == (2, False)
    first = new_model(str(tiny_base), TOPIC).state_dict()
    assert all(first[name].equal(one) for name, one in again.state_dict().items() if "layer.2" in name)


def test_the_averaging_layer_does_not_learn(tiny_base: Path) -> None:
    model = new_model(str(tiny_base), TOPIC)
    optimizers(model, Plan("full", 1e-4, 10, None, None, ""), 0.01, Pace(10, math.inf))
    still = {name for name, one in model.named_parameters() if not one.requires_grad}
    assert still == {name for name, _ in model.named_parameters() if ".layer.2." in name}


def test_a_base_that_has_learnt_to_classify_texts_keeps_its_own_way_and_its_rows(
    tiny_base: Path, tmp_path: Path
) -> None:
    torch.manual_seed(1)
    theirs = load_pretrained(
        "AutoModelForSequenceClassification", str(tiny_base), id2label={0: "Home", 1: "TRAVEL"}, num_labels=2
    )
    theirs.save_pretrained(tmp_path)
    model = new_model(str(tmp_path), TOPIC)
    assert model.config.num_hidden_layers == 2
    assert model.classifier.weight[[1, 0]].equal(theirs.classifier.weight)
