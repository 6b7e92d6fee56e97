"""Logits and losses of segmentation networks by PyTorch, with their weights.

Needs the extra `peers`. Run from a checkout:

    python tests/golden/make_framewise.py

The networks are written here from their papers, with the names of weights of the code
that was released: MS-TCN (Abu Farha and Gall 2019), ASRF (Ishikawa et al. 2021) and
ASFormer (Yi et al. 2021). Channels are before time, as is usual in PyTorch.
"""

from __future__ import annotations

import math
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional

FEATURES, CLASSES, MAPS, FRAMES = 5, 3, 8, 45
ASRF_CLASS_WEIGHTS = (0.5, 1.0, 2.0)
ASRF_POSITIVE_WEIGHT = 7.5


class Residual(nn.Module):
    """A dilated residual layer; the name of its second layer is given."""

    def __init__(self, maps: int, dilation: int, second: str, rate: float) -> None:
        super().__init__()
        self.second, self.rate = second, rate
        self.conv_dilated = nn.Conv1d(
            maps, maps, 3, padding=dilation, dilation=dilation
        )
        setattr(self, second, nn.Conv1d(maps, maps, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Return [b, maps, t]."""
        y = getattr(self, self.second)(self.conv_dilated(x).relu())
        return x + functional.dropout(y, self.rate, self.training)


class Stage(nn.Module):
    """Dilated residual layers between two layers of frames."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        maps: int,
        layers: int,
        first: str,
        second: str,
        rate: float,
    ) -> None:
        super().__init__()
        self.first = first
        setattr(self, first, nn.Conv1d(inputs, maps, 1))
        self.layers = nn.ModuleList(
            Residual(maps, 2**i, second, rate) for i in range(layers)
        )
        self.conv_out = nn.Conv1d(maps, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return [b, outputs, t]."""
        x = getattr(self, self.first)(x)
        for layer in self.layers:
            x = layer(x)
        return self.conv_out(x)


class MSTCN(nn.Module):
    """MS-TCN; returns the logits of all stages."""

    def __init__(
        self,
        features: int,
        classes: int,
        stages: int,
        layers: int,
        maps: int,
        rate: float = 0.5,
    ) -> None:
        super().__init__()
        rest = (maps, layers, "conv_1x1", "conv_1x1", rate)
        self.stage1 = Stage(features, classes, *rest)
        self.stages = nn.ModuleList(
            Stage(classes, classes, *rest) for _ in range(stages - 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return [s, b, classes, t]."""
        outputs = [self.stage1(x)]
        for stage in self.stages:
            outputs.append(stage(outputs[-1].softmax(1)))
        return torch.stack(outputs)


class ASRF(nn.Module):
    """ASRF; returns the logits of all stages of both branches."""

    def __init__(
        self,
        features: int,
        classes: int,
        stages: int,
        layers: int,
        maps: int,
        rate: float = 0.5,
    ) -> None:
        super().__init__()
        self.conv_in = nn.Conv1d(features, maps, 1)
        self.shared_layers = nn.ModuleList(
            Residual(maps, 2**i, "conv_in", rate) for i in range(layers)
        )
        self.conv_cls = nn.Conv1d(maps, classes, 1)
        self.conv_bound = nn.Conv1d(maps, 1, 1)
        rest = (maps, layers, "conv_in", "conv_in", rate)
        self.asb = nn.ModuleList(
            Stage(classes, classes, *rest) for _ in range(stages - 1)
        )
        self.brb = nn.ModuleList(Stage(1, 1, *rest) for _ in range(stages - 1))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return [s, b, classes, t] and [s, b, 1, t]."""
        x = self.conv_in(x)
        for layer in self.shared_layers:
            x = layer(x)
        classes, boundaries = [self.conv_cls(x)], [self.conv_bound(x)]
        for stage in self.asb:
            classes.append(stage(classes[-1].softmax(1)))
        for stage in self.brb:
            boundaries.append(stage(boundaries[-1].sigmoid()))
        return torch.stack(classes), torch.stack(boundaries)


class Attention(nn.Module):
    """Windowed attention, with the keys of every block cut out one after another."""

    def __init__(self, maps: int, reduction: int, window: int, shared: bool) -> None:
        super().__init__()
        inner = maps // reduction
        self.query_conv = nn.Conv1d(maps, inner, 1)
        self.key_conv = nn.Conv1d(maps, inner, 1)
        self.value_conv = nn.Conv1d(maps, inner, 1)
        self.conv_out = nn.Conv1d(inner, maps, 1)
        self.window, self.shared = window, shared

    def allowed(self) -> Tensor:
        """Return which of the keys of a block each of its queries attends to."""
        window = self.window
        allowed = torch.zeros(window, window + 2 * (window // 2))
        if self.shared:
            allowed[:, : 2 * window - 1] = 1
            return allowed
        for i in range(window):
            allowed[i, i : i + window] = 1
        return allowed

    def forward(self, x: Tensor, values: Tensor) -> Tensor:
        """Return [1, maps, t]."""
        q, k, v = self.query_conv(x), self.key_conv(x), self.value_conv(values)
        length, window = q.shape[-1], self.window
        blocks = -(-length // window)
        reach, rest = window // 2, blocks * window - length
        q = functional.pad(q, (0, rest))
        k, v = (functional.pad(a, (reach, rest + reach)) for a in (k, v))
        present = functional.pad(torch.ones(length), (reach, rest + reach))
        keys = [slice(i * window, (i + 1) * window + 2 * reach) for i in range(blocks)]
        k, v = (torch.stack([a[0, :, own] for own in keys]) for a in (k, v))
        kept = self.allowed() * torch.stack([present[own] for own in keys])[:, None]
        q = q[0].reshape(-1, blocks, window).permute(1, 2, 0)
        scores = q @ k / math.sqrt(q.shape[-1]) + torch.log(kept + 1e-6)
        found = (scores.softmax(-1) * kept) @ v.transpose(1, 2)
        found = found.reshape(1, blocks * window, -1)[:, :length]
        return self.conv_out(found.transpose(1, 2).relu())


class FeedForward(nn.Module):
    """A dilated convolution and a rectifier."""

    def __init__(self, maps: int, dilation: int) -> None:
        super().__init__()
        self.layer = nn.Sequential(
            nn.Conv1d(maps, maps, 3, padding=dilation, dilation=dilation), nn.ReLU()
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return [b, maps, t]."""
        return self.layer(x)


class Block(nn.Module):
    """A block of the transformer."""

    def __init__(
        self,
        maps: int,
        reduction: int,
        dilation: int,
        scale: float,
        shared: bool,
        rate: float,
    ) -> None:
        super().__init__()
        self.feed_forward = FeedForward(maps, dilation)
        self.instance_norm = nn.InstanceNorm1d(maps)
        self.att_layer = Attention(maps, reduction, dilation, shared)
        self.conv_1x1 = nn.Conv1d(maps, maps, 1)
        self.scale, self.rate = scale, rate

    def forward(self, x: Tensor, source: Tensor | None) -> Tensor:
        """Return [1, maps, t]."""
        y = self.feed_forward(x)
        normal = self.instance_norm(y)
        found = self.att_layer(normal, normal if source is None else source)
        y = self.conv_1x1(self.scale * found + y)
        return x + functional.dropout(y, self.rate, self.training)


class TransformerStage(nn.Module):
    """The encoder or a decoder; returns logits and features."""

    def __init__(
        self,
        inputs: int,
        classes: int,
        layers: int,
        maps: int,
        scale: float,
        shared: bool,
        rate: float,
    ) -> None:
        super().__init__()
        self.conv_1x1 = nn.Conv1d(inputs, maps, 1)
        self.layers = nn.ModuleList(
            Block(maps, 2, 2**i, scale, shared, rate) for i in range(layers)
        )
        self.conv_out = nn.Conv1d(maps, classes, 1)

    def forward(self, x: Tensor, source: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return [1, classes, t] and [1, maps, t]."""
        x = self.conv_1x1(x)
        for layer in self.layers:
            x = layer(x, source)
        return self.conv_out(x), x


class ASFormer(nn.Module):
    """ASFormer; returns the logits of all stages."""

    def __init__(
        self,
        features: int,
        classes: int,
        decoders: int,
        layers: int,
        maps: int,
        *,
        shared: bool = False,
        rate: float = 0.5,
    ) -> None:
        super().__init__()
        rest = (shared, rate)
        self.encoder = TransformerStage(features, classes, layers, maps, 1.0, *rest)
        self.decoders = nn.ModuleList(
            TransformerStage(classes, classes, layers, maps, math.exp(-3 * s), *rest)
            for s in range(decoders)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return [s, 1, classes, t]."""
        logits, features = self.encoder(x, None)
        outputs = [logits]
        for decoder in self.decoders:
            logits, features = decoder(logits.softmax(1), features)
            outputs.append(logits)
        return torch.stack(outputs)


def stage_loss(outputs: Tensor, labels: Tensor) -> Tensor:
    """Return the loss of MS-TCN and ASFormer of one recording; -1 is no label."""
    loss = torch.zeros(())
    for logits in outputs:
        loss = loss + functional.cross_entropy(logits, labels, ignore_index=-1)
        log_probs = logits.log_softmax(1)
        change = log_probs[..., 1:] - log_probs[..., :-1].detach()
        loss = loss + 0.15 * change.square().clamp(max=16).mean()
    return loss


def boundary_targets(labels: Tensor) -> Tensor:
    """Return 1 where an action begins, [b, t]; labels without gaps."""
    begins = torch.ones(labels.shape)
    begins[:, 1:] = (labels[:, 1:] != labels[:, :-1]).float()
    return begins


def asrf_loss(
    outputs: tuple[Tensor, Tensor], x: Tensor, labels: Tensor, begins: Tensor
) -> Tensor:
    """Return the loss of ASRF of one recording."""
    weight = torch.tensor(ASRF_CLASS_WEIGHTS)
    distance = (x[..., 1:] - x[..., :-1]).norm(dim=1)
    similarity = torch.exp(-distance / 2)
    loss = torch.zeros(())
    for classes, boundaries in zip(*outputs, strict=True):
        log_probs = classes.log_softmax(1)
        change = (log_probs[..., 1:] - log_probs[..., :-1]).square().clamp(max=16)
        loss = loss + functional.cross_entropy(classes, labels, weight)
        loss = loss + (similarity[:, None] * change).mean()
        loss = loss + 0.1 * functional.binary_cross_entropy_with_logits(
            boundaries[:, 0], begins, pos_weight=torch.tensor(ASRF_POSITIVE_WEIGHT)
        )
    return loss / len(outputs[0])


def stored(network: nn.Module, x: Tensor, **found: Tensor) -> dict[str, Tensor]:
    """Return what a golden file holds: weights, frames and results, time before."""
    arrays = {f"weight:{name}": value for name, value in network.state_dict().items()}
    arrays["x"] = x.transpose(1, 2)
    for name, value in found.items():
        arrays[name] = value.transpose(-1, -2) if value.ndim > 2 else value
    return {name: value.detach().contiguous() for name, value in arrays.items()}


def main() -> None:
    """Write one file for each network."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    runs = torch.randint(0, CLASSES, (1, 9)).repeat_interleave(5, 1)
    x = torch.randn(1, FEATURES, FRAMES)
    files: dict[str, dict[str, Tensor]] = {}
    for name, network in (
        ("mstcn", MSTCN(FEATURES, CLASSES, 2, 3, MAPS)),
        ("asformer", ASFormer(FEATURES, CLASSES, 2, 3, MAPS)),
        ("asformer_block", ASFormer(FEATURES, CLASSES, 0, 3, MAPS, shared=True)),
    ):
        network.eval()
        labels = runs.clone()
        labels[0, 20:23] = -1
        with torch.no_grad():
            # larger weights: the softmax of attention is then far from uniform
            for parameter in network.parameters():
                parameter.mul_(1.5)
        logits = network(x)
        loss = stage_loss(logits, labels)
        loss.backward()
        first = next(network.parameters()).grad
        files[name] = stored(
            network, x, labels=labels, logits=logits, loss=loss, gradient=first
        )
    network = ASRF(FEATURES, CLASSES, 2, 3, MAPS).eval()
    outputs = network(x)
    loss = asrf_loss(outputs, x, runs, boundary_targets(runs))
    loss.backward()
    files["asrf"] = stored(
        network,
        x,
        labels=runs,
        logits=outputs[0],
        boundaries=outputs[1],
        loss=loss,
        gradient=network.conv_in.weight.grad,
    )
    for name, arrays in files.items():
        path = Path(__file__).with_name(f"{name}.safetensors")
        about = {
            "provenance": "tests/golden/make_framewise.py",
            "torch": torch.__version__,
        }
        save_file(arrays, path, metadata=about)
        print(path.name, path.stat().st_size)


if __name__ == "__main__":
    main()
