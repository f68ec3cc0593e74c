"""Weights that compute: the same model in torch and exported for ONNX Runtime, over texts of any length."""

import gc
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from edgewise.errors import Conflict, SettingsError
from edgewise.labels.schema import Head
from edgewise.labels.spans import Span
from edgewise.labels.windows import tag_names
from edgewise.learning.baseline import PACKAGED, load_pretrained
from edgewise.learning.inference import Classifier, Tagger, export_trained, load_exported, load_trained, networks
from edgewise.learning.inference.arithmetic import BFLOAT16, FLOAT32, ONNX
from edgewise.learning.inference.networks import TorchNetwork, packed, positions
from tests.learning.conftest import HEAD, LABELS, MENTIONS, TINY_LENGTH, tagger_of

SENTENCE = "the reporter met Ada Young of Cape Town near a river where Marie Curie lived in 1907 ."
WORDS = SENTENCE.split()
LONG = " ".join([SENTENCE] * 60)
TEXTS = ["Ada", "", SENTENCE, LONG[:1700], "北京 😀 e\u0301", *(" ".join(WORDS[:n]) for n in range(2, 16))]


@pytest.fixture(scope="module")
def packaged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The packaged encoder with a head drawn at random, as training writes a model, and exported beside it."""
    folder = tmp_path_factory.mktemp("packaged")
    torch.manual_seed(0)
    names = dict(enumerate(tag_names(LABELS)))
    ours = {"id2label": names, "label2id": {name: i for i, name in names.items()}}
    model = load_pretrained("AutoModelForTokenClassification", PACKAGED, num_labels=len(names), **ours)
    model.save_pretrained(folder)
    load_pretrained("AutoTokenizer", PACKAGED).save_pretrained(folder)
    export_trained(folder, HEAD, folder / "model.onnx")
    return folder


def both(folder: Path, head: Head, length: int) -> tuple[Any, Any]:
    """The model in torch and in ONNX Runtime."""
    exported = load_exported(folder, head, folder / "model.onnx", max_length=length)
    assert exported.arithmetic == ONNX
    return load_trained(folder, head, max_length=length), exported


def places(found: list[tuple[Span, ...]]) -> list[list[tuple[int, int, str]]]:
    """Spans without their scores."""
    return [[(span.start, span.end, span.label) for span in spans] for spans in found]


def test_the_exported_encoder_says_the_same_of_texts_of_any_length(packaged: Path) -> None:
    torches, exported = both(packaged, HEAD, 64)
    assert isinstance(exported, Tagger)
    for texts in (TEXTS, *([text] for text in TEXTS)):
        ours, theirs = torches.tag(texts), exported.tag(texts)
        np.testing.assert_allclose(theirs.probabilities, ours.probabilities, atol=1e-5)
        np.testing.assert_allclose(theirs.embeddings, ours.embeddings, atol=1e-5)
        assert theirs.probabilities.dtype == theirs.embeddings.dtype == np.float32
        assert places(theirs.spans) == places(ours.spans)


def test_it_knows_the_longest_window_and_what_it_weighs(packaged: Path) -> None:
    torches, exported = both(packaged, HEAD, 100_000)
    assert exported._network.positions == torches._network.positions == 512
    assert exported.nbytes == pytest.approx(torches.nbytes, rel=0.05)
    np.testing.assert_allclose(exported.tag([LONG]).probabilities, torches.tag([LONG]).probabilities, atol=1e-5)


def test_a_classifier_of_several_labels_is_exported_with_its_thresholds(tiny_base: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    names = dict(enumerate(MENTIONS.labels))
    ours = {"id2label": names, "label2id": {name: i for i, name in names.items()}}
    kind = {"num_labels": len(names), "problem_type": "multi_label_classification"}
    model = load_pretrained("AutoModelForSequenceClassification", str(tiny_base), **ours, **kind)
    model.config.thresholds = [0.3, 0.5, 0.7][: len(names)]
    model.save_pretrained(tmp_path)
    load_pretrained("AutoTokenizer", str(tiny_base)).save_pretrained(tmp_path)
    export_trained(tmp_path, MENTIONS, tmp_path / "model.onnx")
    torches, exported = both(tmp_path, MENTIONS, TINY_LENGTH)
    assert isinstance(exported, Classifier)
    assert exported.meaning == torches.meaning
    np.testing.assert_allclose(exported.classify(TEXTS).shares, torches.classify(TEXTS).shares, atol=1e-5)


def test_an_export_of_other_labels_is_refused_and_so_is_half_a_file(packaged: Path, tmp_path: Path) -> None:
    other = Head("label", "text", "text", ("LOC", "PER", "ORG"))
    with pytest.raises(Conflict, match="other labels"):
        load_exported(packaged, other, packaged / "model.onnx", max_length=64)
    half = tmp_path / "model.onnx"
    half.write_bytes((packaged / "model.onnx").read_bytes()[: 1 << 20])
    with pytest.raises(SettingsError, match=r"model\.onnx cannot be read"):
        load_exported(packaged, HEAD, half, max_length=64)


def test_roberta_begins_to_count_behind_the_padding() -> None:
    import transformers

    config = transformers.RobertaConfig(
        vocab_size=30, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8,
        max_position_embeddings=34, pad_token_id=1,
    )  # fmt: skip
    assert positions(transformers.RobertaForTokenClassification(config)) == 32


def test_an_arithmetic_that_torch_does_not_have_is_a_mistake(tiny_tagger: Path) -> None:
    network = tagger_of(tiny_tagger)._network
    assert isinstance(network, TorchNetwork)
    assert network.arithmetic == FLOAT32
    for name in ("int8", ONNX):
        with pytest.raises(ValueError, match=name):
            TorchNetwork(network.model, name)


@pytest.mark.parametrize("bias", [True, False])
def test_packed_weights_compute_what_the_layer_computes_for_any_number_of_rows(bias: bool) -> None:
    torch.manual_seed(0)
    layer = torch.nn.Linear(48, 80, bias=bias).bfloat16()
    with torch.inference_mode(), networks.computing(BFLOAT16):
        ours = packed(layer)
        assert (ours is not layer) == torch.ops.mkldnn._is_mkldnn_bf16_supported()
        for shape in ((1, 1, 48), (3, 7, 48), (32, 40, 48), (1, 3000, 48), (0, 48)):
            states = torch.randn(shape)
            expected = torch.nn.functional.linear(states.bfloat16(), layer.weight, layer.bias)
            torch.testing.assert_close(ours(states), expected, atol=0.02, rtol=0.02)


def test_a_layer_that_cannot_be_packed_stays_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    class Other(torch.nn.Linear):
        """Of whose weight its model makes more than a product."""

    other, layer = Other(4, 2).bfloat16(), torch.nn.Linear(4, 2).bfloat16()
    assert packed(other) is other
    monkeypatch.setattr(networks, "_packs", lambda: False)
    assert packed(layer) is layer


def test_bfloat16_halves_the_encoder_s_layers_and_says_nearly_the_same(packaged: Path) -> None:
    full, half = (load_trained(packaged, HEAD, max_length=64, arithmetic=name) for name in (FLOAT32, BFLOAT16))
    assert isinstance(full, Tagger)
    assert isinstance(half, Tagger)
    layers = 6 * (4 * 384 * 384 + 2 * 384 * 1536)
    assert full.nbytes - half.nbytes == pytest.approx(2 * layers, rel=0.01)
    np.testing.assert_allclose(half.tag(TEXTS).probabilities, full.tag(TEXTS).probabilities, atol=0.01)


def test_a_network_s_memory_is_free_as_soon_as_nobody_holds_it(tiny_tagger: Path) -> None:
    """No cycle keeps it until Python looks for one: memory of a server grew by half a model with each version."""
    for name in (FLOAT32, BFLOAT16):
        tagger = load_trained(tiny_tagger, HEAD, max_length=TINY_LENGTH, arithmetic=name)
        gc.collect()
        gc.disable()
        try:
            before = len(gc.get_objects())
            network = tagger._network
            assert isinstance(network, TorchNetwork)
            held = [weakref.ref(module) for module in network.model.modules()]
            del tagger, network
            assert [one() for one in held if one() is not None] == []
            assert gc.collect() == 0, f"{name}: something waits in a cycle"
            assert len(gc.get_objects()) < before
        finally:
            gc.enable()
