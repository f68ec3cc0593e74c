"""Weights that compute: a model of transformers in torch, or the same model exported and run by ONNX Runtime.

Both take a batch of windows and give 32-bit floats, whatever they compute in; what the numbers mean is the business of
tagging.py and classification.py.
"""

import logging
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from edgewise.errors import SettingsError
from edgewise.labels.windows import IntArray
from edgewise.learning.inference.arithmetic import BFLOAT16, FLOAT32, ONNX

Float32 = NDArray[np.float32]
Batch = tuple[IntArray, IntArray, NDArray[np.bool_]]  # ids, attention mask and content, each (b, length)

POSITIONS = "positions"  # metadata of an exported file
INPUTS, OUTPUTS = ("ids", "mask"), ("hidden", "logits")
PACKED_FOR = 512  # tokens of a batch; other sizes work as well
SEVERAL = 2, 8  # texts and tokens that an export is traced with: a size of 1 would be taken for a constant


class Network(Protocol):
    """What an Encoder asks. config: transformers'. positions: tokens of the longest window. nbytes: of the weights."""

    arithmetic: str
    config: Any
    positions: int
    nbytes: int

    def run(self, batch: Batch) -> tuple[Float32, Float32 | None]:
        """The last hidden state summed over content (b, dim), and the head's logits (b, …); None without a head."""


class TorchNetwork:
    """A model of transformers, which it changes. arithmetic: float32 or bfloat16; ValueError for any other."""

    def __init__(self, model: Any, arithmetic: str = FLOAT32) -> None:
        self.model = prepared(model.eval(), arithmetic)
        self.arithmetic = arithmetic
        self.config = model.config
        self.positions = positions(model)
        self.nbytes = sum(one.numel() * one.element_size() for one in (*model.parameters(), *model.buffers()))

    def run(self, batch: Batch) -> tuple[Float32, Float32 | None]:
        """See Network."""
        import torch

        ids, mask, content = (torch.from_numpy(one).to(self.model.device) for one in batch)
        with torch.inference_mode():
            with computing(self.arithmetic):
                answer = self.model(input_ids=ids, attention_mask=mask, output_hidden_states=True)
            pooled = (answer.hidden_states[-1].float() * content.unsqueeze(-1)).sum(dim=1)
            logits = getattr(answer, "logits", None)
            return pooled.cpu().numpy(), None if logits is None else logits.float().cpu().numpy()


class OnnxNetwork:
    """A model that `export` wrote, of 32-bit floats. config: transformers', as the weights beside it have.

    Raises SettingsError if the file cannot be read.
    """

    arithmetic = ONNX

    def __init__(self, path: Path, config: Any) -> None:
        import onnxruntime
        import torch

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # it would starve whoever shares cores
        options.enable_cpu_mem_arena = False  # no slower here, and it would keep the largest batch's memory for good
        try:
            self._session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # its errors have no class in common
            what = f"{path.name} cannot be read by ONNX Runtime ({type(error).__name__})."
            raise SettingsError(what, "Delete that file: the version is then computed in float32.") from error
        self.config = config
        self.positions = int(self._session.get_modelmeta().custom_metadata_map[POSITIONS])
        self.nbytes = path.stat().st_size

    def run(self, batch: Batch) -> tuple[Float32, Float32 | None]:
        """See Network."""
        ids, mask, content = batch
        given = {name: np.asarray(one, dtype=np.int64) for name, one in zip(INPUTS, (ids, mask), strict=True)}
        hidden, logits = self._session.run(OUTPUTS, given)
        return np.einsum("btd,bt->bd", hidden, content.astype(np.float32)), logits


def export(model: Any, path: Path) -> None:
    """Write a classifier of transformers for OnnxNetwork, for any number of texts and tokens. Takes about ten seconds.

    Raises what torch's exporter raises for a model that it does not understand. Whether the file computes the same is
    for whoever takes it to measure: older exporters wrote graphs that were right for the traced size only.
    """
    import torch

    class Whole(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model.eval()

        def forward(self, ids: Any, mask: Any) -> tuple[Any, Any]:
            answer = self.model(input_ids=ids, attention_mask=mask, output_hidden_states=True)
            return answer.hidden_states[-1], answer.logits

    ids = torch.ones(SEVERAL, dtype=torch.int64)
    mask = ids.clone()
    mask[1, SEVERAL[1] // 2 :] = 0  # or attention without padding would be what is traced
    sizes = {0: torch.export.Dim("texts"), 1: torch.export.Dim("tokens")}
    with torch.no_grad(), _quiet():
        program = torch.onnx.export(
            Whole(),
            (ids, mask),
            dynamo=True,
            dynamic_shapes=dict.fromkeys(INPUTS, sizes),
            input_names=INPUTS,
            output_names=OUTPUTS,
            verbose=False,
        )
        assert program is not None  # with dynamo it is one
        program.model.metadata_props[POSITIONS] = str(positions(model))
        program.save(path, external_data=False)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporter's warnings about itself: they are not for our log."""
    log = logging.getLogger("torch.onnx")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    finally:
        log.setLevel(level)


def positions(model: Any) -> int:
    """The longest window that the model's position table allows."""
    limit = getattr(model.config, "max_position_embeddings", None) or 0
    table = getattr(getattr(model.base_model, "embeddings", None), "position_embeddings", None)
    padding = getattr(table, "padding_idx", None)
    limit -= 0 if padding is None else padding + 1  # RoBERTa begins to count behind the padding
    return limit if limit > 0 else int(np.iinfo(np.int64).max)


def prepared(model: Any, arithmetic: str) -> Any:
    """The model of transformers with weights as this arithmetic wants them. Changes it; ValueError for an unknown one.

    bfloat16: the encoder's linear layers, which take nearly all of the time, in half the memory. The rest stays in 32
    bits: embeddings, norms, and the head, or its logits would be rounded to two or three digits.
    """
    import torch

    if arithmetic not in (FLOAT32, BFLOAT16):
        raise ValueError(f"torch has no such arithmetic: {arithmetic}")
    model.float()
    if arithmetic == BFLOAT16:
        for parent in list(model.base_model.modules()):
            for name, layer in list(parent.named_children()):
                if isinstance(layer, torch.nn.Linear):
                    setattr(parent, name, packed(layer.bfloat16()))
        for name, module in list(model.named_children()):
            if name != model.base_model_prefix and model.base_model is not model:
                setattr(model, name, _in_full()(module))
    return model


def packed(layer: Any) -> Any:
    """A linear layer in bfloat16, its weights once and for all in the order in which oneDNN's kernels read them: a
    tenth faster, for a short text a sixth. As it is where oneDNN is not, or has no such kernels.

    torch does so by itself only behind torch.compile, which needs a C++ compiler: these are the operators that it calls
    there."""
    import torch

    is_plain = type(layer) is torch.nn.Linear and layer.weight.device.type == "cpu"  # others are more than their weight
    return _packed()(layer) if is_plain and _packs() else layer


@cache
def _packs() -> bool:
    """Whether this torch and this processor can."""
    import torch

    has_onednn = bool(torch.backends.mkldnn.is_available())  # type: ignore[no-untyped-call]
    return has_onednn and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


@cache
def _packed() -> Any:
    """The class of packed linear layers."""
    import torch

    class Packed(torch.nn.Module):
        def __init__(self, layer: Any) -> None:
            super().__init__()
            weight = layer.weight.detach()
            self.register_buffer("weight", torch.ops.mkldnn._reorder_linear_weight(weight, PACKED_FOR))
            self.register_buffer("bias", None if layer.bias is None else layer.bias.detach())

        def forward(self, states: Any) -> Any:
            same = states.to(self.weight.dtype)
            return torch.ops.mkldnn._linear_pointwise(same, self.weight, self.bias, "none", [], "")

    return Packed


@cache
def _in_full() -> Any:
    """The class of heads that compute in 32 bits, whatever the arithmetic around them. A module around the head, not
    another `forward` in it: that would be a cycle, and keep memory until Python looks for those."""
    import torch

    class InFull(torch.nn.Module):
        def __init__(self, head: Any) -> None:
            super().__init__()
            self.head = head

        def forward(self, *args: Any, **named: Any) -> Any:
            with torch.autocast("cpu", enabled=False):
                return self.head(*(one.float() if torch.is_tensor(one) else one for one in args), **named)

    return InFull


def computing(arithmetic: str) -> AbstractContextManager[Any]:
    """Within it a prepared model computes in this arithmetic, in this thread."""
    import torch

    return torch.autocast("cpu", torch.bfloat16) if arithmetic == BFLOAT16 else nullcontext()
