"""Which arithmetic is taken: the decision on made figures, how agreement is counted, and bfloat16 on real encoders."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import uncertainty
from edgewise.labels.windows import tag_names
from edgewise.learning.baseline import PACKAGED, load_pretrained
from edgewise.learning.inference import Classifier, Tagger, TorchNetwork, arithmetic, model_for
from edgewise.learning.inference.arithmetic import (
    BFLOAT16,
    FLOAT32,
    Agreement,
    Choice,
    Figures,
    agreement,
    architecture_of,
    decide,
    fault_of,
    times_faster,
)
from tests.learning.conftest import HEAD, LABELS, TINY_LENGTH, TOPIC, tagger_of

GOOD = Agreement(spearman=0.9995, overlap=0.98, changed=0.0007, texts=800, decisions=20_000)
FAST = Figures(4.5, GOOD)
WORDS = "the reporter met Ada Young of Cape Town near a river where Marie Curie lived in 1907 ."


def with_(**facts: Any) -> Figures:
    """FAST, but for these facts of its agreement."""
    return replace(FAST, agreement=replace(GOOD, **facts))


def test_the_fastest_that_ranks_the_same_is_taken_and_says_why() -> None:
    found = decide({"bfloat16": FAST, "slower": replace(FAST, times_faster=2.0)})
    assert found.arithmetic == "bfloat16"
    assert found.reason == (
        "4.50 times as fast as float32, and the same order: Spearman 0.9995, 98% of the hardest, "
        "0.07% of the labels changed"
    )
    assert decide({"bfloat16": with_(spearman=0.99), "slower": replace(FAST, times_faster=2.0)}).arithmetic == "slower"


@pytest.mark.parametrize(
    ("figures", "told"),
    [
        (replace(FAST, times_faster=1.09), "only 1.09 times as fast"),
        (replace(FAST, times_faster=None), "cannot be run"),
        (replace(FAST, agreement=None), "nobody knows"),
        (with_(spearman=0.99899), "Spearman 0.9990"),
        (with_(spearman=float("nan")), "Spearman nan"),
        (with_(overlap=0.94), "94.0% of the hardest"),
        (with_(changed=0.002), "0.20% of the labels"),
        (with_(texts=199), "199 texts"),
    ],
)
def test_each_criterion_alone_keeps_float32(figures: Figures, told: str) -> None:
    found = decide({"bfloat16": figures})
    assert found.arithmetic == FLOAT32
    assert told in found.reason


def test_exactly_at_the_limits_it_may_be_taken() -> None:
    at = Figures(1.1, Agreement(spearman=0.999, overlap=0.95, changed=0.00199, texts=200, decisions=1))
    assert fault_of(at) is None


def test_nothing_to_choose_from_is_float32() -> None:
    assert decide({}) == Choice(FLOAT32, "")


def test_agreement_is_counted_by_hand() -> None:
    ours = np.arange(40.0)
    theirs = ours.copy()
    theirs[[36, 35]] = theirs[[35, 36]]  # the edge of the hardest tenth
    found = agreement((ours, np.zeros(200, int)), (theirs, np.r_[np.ones(3, int), np.zeros(197, int)]))
    assert (found.texts, found.decisions, found.overlap, found.changed) == (40, 200, 3 / 4, 3 / 200)
    assert found.spearman == pytest.approx(1 - 6 * 2 / (40 * (40**2 - 1)))
    same = agreement((ours, ours.astype(int)), (ours, ours.astype(int)))
    assert same.spearman == pytest.approx(1.0)
    assert (same.overlap, same.changed) == (1.0, 0.0)
    assert np.isnan(agreement((ours * 0, ours.astype(int)), (ours, ours.astype(int))).spearman)


def test_the_hundred_hardest_are_the_top_from_a_thousand_texts_on() -> None:
    assert [arithmetic.top_size(texts) for texts in (0, 250, 1000, 5000)] == [0, 25, 100, 100]


def busy(times: int) -> Callable[[], None]:
    """Work of so many parts."""
    matrix = np.ones((300, 300))

    def work() -> None:
        for _ in range(times):
            matrix @ matrix

    return work


def test_speed_is_by_the_work_and_what_cannot_be_run_has_none() -> None:
    def fails() -> None:
        raise RuntimeError("no such kernel")

    found = times_faster({FLOAT32: busy(60), "third": busy(20), "broken": fails}, rounds=5)
    assert found["broken"] is None
    assert found["third"] == pytest.approx(3.0, rel=0.4)


def test_what_is_hopeless_after_a_round_is_not_run_again() -> None:
    runs: list[str] = []

    def counted(name: str, times: int) -> Callable[[], None]:
        work = busy(times)

        def run() -> None:
            runs.append(name)
            work()

        return run

    found = times_faster({FLOAT32: counted("float32", 10), "slow": counted("slow", 40)}, rounds=6)
    assert found["slow"] is not None
    assert found["slow"] < arithmetic.HOPELESS
    assert runs.count("slow") == 2  # to warm up, and once
    assert runs.count("float32") == 2


def tagger(arithmetic: str, change: Callable[[Any], None] = lambda model: None) -> Tagger:
    """The packaged encoder with a head drawn at random, which leans to nothing: many words are undecided."""
    names = dict(enumerate(tag_names(LABELS)))
    torch.manual_seed(0)
    model = load_pretrained("AutoModelForTokenClassification", PACKAGED, id2label=names, num_labels=len(names))
    with torch.no_grad():
        model.classifier.weight.mul_(20)
    change(model)
    tokenizer = load_pretrained("AutoTokenizer", PACKAGED)
    found = model_for(HEAD, TorchNetwork(model, arithmetic), tokenizer, max_length=64)
    assert isinstance(found, Tagger)
    return found


def coarse(model: Any) -> None:
    """Weights in steps of a sixteenth of the largest of their layer, as in 5-bit integers."""
    with torch.no_grad():
        for module in model.base_model.modules():
            if isinstance(module, torch.nn.Linear):
                step = module.weight.abs().max() / 16
                module.weight.copy_((module.weight / step).round() * step)


def test_the_packaged_encoder_ranks_alike_in_bfloat16_and_would_not_in_five_bits() -> None:
    words = WORDS.split()
    rng = np.random.default_rng(0)
    texts = [" ".join(rng.choice(words, rng.integers(3, 9))) for _ in range(arithmetic.LEAST_TEXTS)]

    def told(model: Tagger) -> tuple[Any, Any]:
        tagged = model.tag(texts)
        assert tagged.probabilities.dtype == tagged.embeddings.dtype == np.float32
        np.testing.assert_allclose(tagged.probabilities.sum(axis=1), 1, atol=1e-5)
        np.testing.assert_allclose(np.linalg.norm(tagged.embeddings, axis=1), 1, atol=1e-5)
        unsure = uncertainty.SCORES[uncertainty.DEFAULT](tagged.probabilities, tagged.offsets)
        return unsure, tagged.probabilities.argmax(axis=1)

    whole, half = tagger(FLOAT32), tagger(BFLOAT16)
    ours = told(whole)
    found = agreement(ours, told(half))
    assert found.spearman > 0.995
    assert found.changed < 0.02
    assert found.spearman < 1  # it is another arithmetic
    assert half.nbytes < 0.8 * whole.nbytes
    lost = agreement(ours, told(tagger(FLOAT32, coarse)))
    assert decide({"coarse": Figures(5.0, lost)}).arithmetic == FLOAT32
    assert lost.spearman < 0.995


def test_a_classifier_computes_in_bfloat16_too(tiny_base: Path) -> None:
    torch.manual_seed(0)
    names = dict(enumerate(TOPIC.labels))
    found: list[Classifier] = []
    for name in (FLOAT32, BFLOAT16):
        torch.manual_seed(0)
        kind = "AutoModelForSequenceClassification"
        model = load_pretrained(kind, str(tiny_base), id2label=names, num_labels=len(names))
        tokenizer = load_pretrained("AutoTokenizer", str(tiny_base))
        made = model_for(TOPIC, TorchNetwork(model, name), tokenizer, max_length=TINY_LENGTH)
        assert isinstance(made, Classifier)
        found.append(made)
    texts = ["Ada Young went to Paris .", "We met Noether near New York ."] * 20
    whole, half = (model.classify(texts) for model in found)
    assert half.shares.dtype == half.embeddings.dtype == np.float32
    np.testing.assert_allclose(half.shares, whole.shares, atol=0.02)
    assert not np.array_equal(half.shares, whole.shares)


def test_models_are_of_one_kind_whatever_their_labels() -> None:
    config = {"model_type": "bert", "hidden_size": 384, "num_hidden_layers": 6, "id2label": {"0": "O"}, "dtype": "x"}
    kind = architecture_of(config, "spans", 128)
    assert architecture_of(config | {"id2label": {"0": "O", "1": "B-PER"}, "dtype": "y"}, "spans", 128) == kind
    others = [config | {"hidden_size": 768}, config | {"num_hidden_layers": 12}, config | {"model_type": "roberta"}]
    digests = {architecture_of(other, "spans", 128) for other in others}
    digests |= {architecture_of(config, "choice", 128), architecture_of(config, "spans", 512)}
    assert len(digests | {kind}) == 6


def test_a_machine_is_another_one_with_another_processor_or_other_flags(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def seen(text: str) -> str:
        (tmp_path / "cpuinfo").write_text(text)
        monkeypatch.setattr(arithmetic, "CPU_FACTS", tmp_path / "cpuinfo")
        return arithmetic.machine.__wrapped__().digest

    plain = "processor : 0\nmodel name : Epyc\nflags : avx2 avx512_bf16\n\nprocessor : 1\n"
    assert seen(plain) == seen(plain.replace("avx2 avx512_bf16", "avx512_bf16 avx2").replace("processor : 1", ""))
    others = [plain.replace("Epyc", "Xeon"), plain.replace("avx512_bf16", "amx_bf16"), ""]
    assert len({seen(plain), *map(seen, others)}) == 4


def test_whatever_is_loaded_without_a_word_is_computed_in_float32(tiny_tagger: Path) -> None:
    """What judges a version, and what measures us beside others, asks for no arithmetic."""
    network = tagger_of(tiny_tagger)._network
    assert isinstance(network, TorchNetwork)
    assert {parameter.dtype for parameter in network.model.parameters()} == {torch.float32}
