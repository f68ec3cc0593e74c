"""A last layer that averages: what mean pooling is, written as a layer that every reader of BERT models computes.

Sentence encoders sum up a text by the mean over its tokens, and transformers' BERT classifiers by its first token.
Fitted with this layer they are the same: its attention looks at all tokens alike, so that the first token ends as
their mean, normalised. The model on disk stays an ordinary sequence classifier: no code of ours is needed to load it.
"""

from typing import Any

AVERAGING = frozenset({"bert", "roberta", "xlm-roberta", "camembert"})  # kinds of encoder whose layers look like this
LOUD = 1000.0  # times that the mean outweighs what the token itself brings along: the sum is normalised afterwards
GENTLE = 0.5  # of the pooler's identity, so that its tanh hardly bends


def average(model: Any) -> None:
    """Make the top layer of a sequence classifier average, for good, and its pooler pass on what it is given."""
    import torch

    layer = model.base_model.encoder.layer[-1]
    attention = layer.attention
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.zero_()
        attention.self.value.weight.copy_(torch.eye(model.config.hidden_size))
        attention.output.dense.weight.copy_(LOUD * torch.eye(model.config.hidden_size))
        for norm in (attention.output.LayerNorm, layer.output.LayerNorm):
            norm.weight.fill_(1.0)
        dense = _pooler(model)
        dense.weight.copy_(GENTLE * torch.eye(model.config.hidden_size))
        dense.bias.zero_()


def _pooler(model: Any) -> Any:
    """The square layer between first token and labels: in BERT a part of the encoder, in RoBERTa of the head."""
    pooler = getattr(model.base_model, "pooler", None)
    return model.classifier.dense if pooler is None else pooler.dense
