"""Sequence networks and recurrent layers in PyTorch: weights, inputs and outputs.

Needs the extra `peers`. Run from a checkout:

    python tests/golden/make_seq2seq.py

The modules are written from their definitions alone: a pyramid of bidirectional
recurrent layers over pairs of steps, a classifier of steps, and a recurrent decoder
with attention. They carry the names of published checkpoints.
"""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

CLASSES, FEATURES, HIDDEN, LAYERS, WIDTH = 5, 3, 4, 2, 6
LENGTHS = (20, 12)
TOKENS = ((2, 4, 1, 6), (5, 6, 0, 0))
PREVIOUS = (1, 3)
SMOOTHING, FRAME_LOSS = 0.1, 0.5


class PairLayer(nn.Module):
    """A recurrent layer over pairs of steps."""

    def __init__(self, inputs: int, hidden: int) -> None:
        super().__init__()
        self.BLSTM = nn.GRU(2 * inputs, hidden, batch_first=True, bidirectional=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return half as many steps."""
        joined = torch.cat([x[:, 0::2], x[:, 1::2]], dim=2)
        return self.BLSTM(joined)[0]


class Listener(nn.Module):
    """The encoder and the classifier of its steps."""

    def __init__(self) -> None:
        super().__init__()
        for i in range(LAYERS):
            inputs = FEATURES if i == 0 else 2 * HIDDEN
            setattr(self, f"pLSTM_layer{i}", PairLayer(inputs, HIDDEN))
        self.fc = nn.Linear(2 * HIDDEN, CLASSES)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the outputs and the logits of the steps."""
        for i in range(LAYERS):
            x = getattr(self, f"pLSTM_layer{i}")(x)
        return x, self.fc(x)


class Attention(nn.Module):
    """The context of a state, by one of the three ways."""

    def __init__(self, kind: str, heads: int) -> None:
        super().__init__()
        self.kind, self.heads = kind, heads
        if kind == "mlp":
            self.phi = nn.Linear(2 * HIDDEN, heads * WIDTH)
            self.psi = nn.Linear(2 * HIDDEN, WIDTH)
        if heads > 1:
            self.dim_reduce = nn.Linear(heads * 2 * HIDDEN, 2 * HIDDEN)

    def forward(
        self, state: torch.Tensor, outputs: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return context and weights for one state [n] and outputs [t, n]."""
        if self.kind == "mean":
            return outputs.mean(0), torch.full((len(outputs),), 1 / len(outputs))
        query, keys = state, outputs
        if self.kind == "mlp":
            query, keys = self.phi(state).relu(), self.psi(outputs).relu()
        weights, contexts = [], []
        for part in query.chunk(self.heads):
            weights.append(torch.softmax(keys.mv(part), 0))
            contexts.append(outputs.T.mv(weights[-1]))
        context = torch.cat(contexts)
        if self.heads > 1:
            context = self.dim_reduce(context)
        return context, torch.stack(weights).mean(0)


class Speller(nn.Module):
    """The decoder of one sequence."""

    def __init__(self, kind: str, heads: int) -> None:
        super().__init__()
        self.rnn_layer = nn.GRU(CLASSES + 2 + 2 * HIDDEN, 2 * HIDDEN)
        self.attention = Attention(kind, heads)
        self.character_distribution = nn.Linear(4 * HIDDEN, CLASSES + 2)

    def forward(
        self,
        outputs: torch.Tensor,
        previous: int,
        tokens: tuple[int, ...] | None,
        steps: int,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return log-probabilities and attention of the steps."""
        state, context, token = None, outputs[0], previous
        found, looked = [], []
        for i in range(steps):
            mark = functional.one_hot(torch.tensor(token), CLASSES + 2).float()
            y, state = self.rnn_layer(torch.cat([mark, context])[None, None], state)
            context, weights = self.attention(y[0, 0], outputs)
            logits = self.character_distribution(torch.cat([y[0, 0], context]))
            found.append(torch.log_softmax(logits, 0))
            looked.append(weights)
            token = int(found[-1].argmax()) if tokens is None else tokens[i]
        return torch.stack(found), torch.stack(looked)


class Network(nn.Module):
    """Both parts."""

    def __init__(self, kind: str, heads: int) -> None:
        super().__init__()
        self.listener = Listener()
        self.speller = Speller(kind, heads)


def run(network: Network, x: torch.Tensor) -> dict[str, torch.Tensor]:
    """Return the outputs for each recording alone, with zeros behind."""
    room, steps = max(LENGTHS) // 2**LAYERS, len(TOKENS[0])
    parts: dict[str, list[torch.Tensor]] = {}
    for i, length in enumerate(LENGTHS):
        encoded, logits = network.listener(x[i : i + 1, :length])
        count = sum(token > 0 for token in TOKENS[i])
        logs, looked = network.speller(encoded[0], PREVIOUS[i], TOKENS[i], count)
        free, _ = network.speller(encoded[0], PREVIOUS[i], None, steps)
        short, over = room - encoded.shape[1], steps - count
        rows = {
            "encoder": functional.pad(encoded[0], (0, 0, 0, short)),
            "frame_logits": functional.pad(logits[0], (0, 0, 0, short)),
            "log_probs": functional.pad(logs, (0, 0, 0, over)),
            "attention": functional.pad(looked, (0, short, 0, over)),
            "free_log_probs": free,
        }
        for name, row in rows.items():
            parts.setdefault(name, []).append(row)
    return {name: torch.stack(rows) for name, rows in parts.items()}


def losses(found: dict[str, torch.Tensor], labels: torch.Tensor) -> torch.Tensor:
    """Return the loss of each recording: smoothed tokens and half the frames'."""
    rows = []
    for i, length in enumerate(LENGTHS):
        count = sum(token > 0 for token in TOKENS[i])
        mark = functional.one_hot(torch.tensor(TOKENS[i][:count]), CLASSES + 2)
        target = (1 - SMOOTHING) * mark + SMOOTHING / (CLASSES + 2)
        tokens = -(target * found["log_probs"][i, :count]).sum() / count
        steps = length // 2**LAYERS
        frames = functional.cross_entropy(
            found["frame_logits"][i, :steps],
            labels[i, : length : 2**LAYERS],
            ignore_index=-1,
        )
        rows.append(tokens + FRAME_LOSS * frames)
    return torch.stack(rows)


def recurrent() -> dict[str, torch.Tensor]:
    """Return a packed bidirectional layer with its outputs and gradients."""
    layer = nn.GRU(FEATURES, HIDDEN, batch_first=True, bidirectional=True)
    lengths = torch.tensor([7, 4, 1])
    x = torch.randn(3, 7, FEATURES, requires_grad=True)
    weights = torch.randn(3, 7, 2 * HIDDEN)
    packed = pack_padded_sequence(x, lengths, batch_first=True)
    y, _ = pad_packed_sequence(layer(packed)[0], batch_first=True)
    (y * weights).sum().backward()
    found = {"x": x, "lengths": lengths, "weights": weights, "y": y, "dx": x.grad}
    for name, value in layer.named_parameters():
        found |= {f"layer.{name}": value, f"grad.{name}": value.grad}
    return found


def write(name: str, arrays: dict[str, torch.Tensor]) -> None:
    """Write one file with its provenance."""
    kept = {key: value.detach().contiguous().clone() for key, value in arrays.items()}
    provenance = {
        "provenance": "tests/golden/make_seq2seq.py",
        "torch": torch.__version__,
    }
    path = Path(__file__).with_name(f"{name}.safetensors")
    save_file(kept, path, metadata=provenance)
    print(path.name, path.stat().st_size)


def main() -> None:
    """Write all files."""
    torch.set_num_threads(1)
    for kind, heads in (("dot", 1), ("mlp", 2), ("mean", 1)):
        torch.manual_seed(7)
        network = Network(kind, heads)
        with torch.no_grad():
            # large enough that the states and the attention are not all alike
            for value in network.parameters():
                value.mul_(2.0)
        x = torch.randn(len(LENGTHS), max(LENGTHS), FEATURES)
        labels = torch.randint(-1, CLASSES, (len(LENGTHS), max(LENGTHS)))
        found = run(network, x)
        found["losses"] = losses(found, labels)
        found["losses"].sum().backward()
        named = dict(network.named_parameters())
        weights = {f"weights.{k}": v for k, v in named.items()}
        grads = {
            f"grad.{k}": torch.zeros_like(v) if v.grad is None else v.grad
            for k, v in named.items()
        }
        write(
            f"seq2seq_{kind}", {"x": x, "labels": labels, **found, **weights, **grads}
        )
    torch.manual_seed(3)
    write("gru", recurrent())


if __name__ == "__main__":
    main()
