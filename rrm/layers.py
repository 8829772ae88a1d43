"""Building blocks of HRM and TRM, as both papers' official code defines them.

Shapes: B batch, S sequence (prefix + grid), D hidden size, H heads, K head size, M inner width of the SwiGLU.
Modules and parameters bear the official names, so that official state dicts load and gradients compare by name.
No layer but the Q head has a bias; norms have no parameters.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rrm.config import ModelConfig

NORM_EPS = 1e-5
ROTARY_BASE = 10_000.0
TRUNCATED_UNIT_STD = 0.8796256610342398  # standard deviation of a unit normal cut at +-2


def truncated_normal_(tensor: Tensor, std: float) -> Tensor:
    """Fill with a normal cut at +-2 sigma whose standard deviation after the cut is `std` (JAX's initialiser)."""
    scale = std / TRUNCATED_UNIT_STD
    nn.init.trunc_normal_(tensor, std=scale, a=-2 * scale, b=2 * scale)
    return tensor


def truncated_normal_quantile(ranks: Tensor) -> Tensor:
    """Values of a normal cut at +-2 sigma, scaled to standard deviation 1, at ranks in [0, 1)."""
    tail = 0.022750131948179195  # probability below -2 sigma
    values: Tensor = torch.special.ndtri(tail + ranks * (1 - 2 * tail)).clamp(-2.0, 2.0)
    return values / TRUNCATED_UNIT_STD


def rms_norm(x: Tensor) -> Tensor:
    """Root-mean-square norm over the last axis, computed in float32, without weights."""
    x32 = x.float()
    return (x32 * torch.rsqrt(x32.square().mean(-1, keepdim=True) + NORM_EPS)).to(x.dtype)


class Linear(nn.Linear):
    """A linear layer with truncated LeCun-normal weights, kept in float32 and applied in the precision of its input."""

    def __init__(self, inputs: int, outputs: int, *, bias: bool = False) -> None:
        super().__init__(inputs, outputs, bias=bias)
        truncated_normal_(self.weight.data, std=inputs**-0.5)

    def forward(self, x: Tensor) -> Tensor:  # [..., inputs] -> [..., outputs]
        return F.linear(x, self.weight.to(x.dtype), None if self.bias is None else self.bias.to(x.dtype))


class Embedding(nn.Module):
    """A table of `count` vectors of size D, looked up by integer ids."""

    def __init__(self, count: int, size: int, std: float) -> None:
        super().__init__()
        self.embedding_weight = nn.Parameter(truncated_normal_(torch.empty(count, size), std))

    def forward(self, ids: Tensor) -> Tensor:  # [...] -> [..., D]
        return F.embedding(ids, self.embedding_weight)


class PuzzleEmbedding(nn.Module):
    """One vector a puzzle identifier, zero at first; trained by sign-SGD, outside the EMA (official `sparse_embedding.py`)."""

    def __init__(self, count: int, size: int) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.zeros(count, size))

    def forward(self, ids: Tensor) -> Tensor:  # [B] -> [B, D]
        return F.embedding(ids, self.weights)


class Rotary(nn.Module):
    """Rotary positions over `length` positions for heads of `head_size`; cos and sin are [S, K]."""

    def __init__(self, length: int, head_size: int) -> None:
        super().__init__()
        # Written as the official code rounds it: a deep recursion amplifies the last bit.
        frequencies = 1.0 / (ROTARY_BASE ** (torch.arange(0, head_size, 2, dtype=torch.float32) / head_size))
        angles = torch.outer(torch.arange(length, dtype=torch.float32), frequencies).repeat(1, 2)  # [S, K]
        self.cos: Tensor
        self.sin: Tensor
        self.register_buffer("cos", angles.cos(), persistent=False)
        self.register_buffer("sin", angles.sin(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:  # [B, H, S, K] -> [B, H, S, K]
        first, second = x.chunk(2, dim=-1)
        rotated = torch.cat((-second, first), dim=-1)
        return (x * self.cos + rotated * self.sin).to(x.dtype)


class Attention(nn.Module):
    """Non-causal multi-head self-attention."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.head_size = config.head_size
        self.qkv_proj = Linear(config.hidden_size, 3 * config.hidden_size)
        self.o_proj = Linear(config.hidden_size, config.hidden_size)

    def forward(self, x: Tensor, rotary: Rotary | None) -> Tensor:  # [B, S, D] -> [B, S, D]
        batch, length, _ = x.shape
        qkv = self.qkv_proj(x).view(batch, length, 3, -1, self.head_size)  # [B, S, 3, H, K]
        query, key, value = qkv.permute(2, 0, 3, 1, 4)  # each [B, H, S, K]
        if rotary is not None:
            query, key = rotary(query), rotary(key)
        mixed = F.scaled_dot_product_attention(query, key, value)
        projected: Tensor = self.o_proj(mixed.transpose(1, 2).reshape(batch, length, -1))
        return projected


class SwiGLU(nn.Module):
    """Gated feed-forward layer: down(silu(gate x) * up x)."""

    def __init__(self, size: int, inner: int) -> None:
        super().__init__()
        self.gate_up_proj = Linear(size, 2 * inner)
        self.down_proj = Linear(inner, size)

    def forward(self, x: Tensor) -> Tensor:  # [B, S, D] -> [B, S, D]
        gate, up = self.gate_up_proj(x).chunk(2, dim=-1)  # each [B, S, M]
        projected: Tensor = self.down_proj(F.silu(gate) * up)
        return projected


class Block(nn.Module):
    """One layer: a mixer over positions, then SwiGLU over features, each with a residual and a norm behind it (post-norm).

    The mixer is self-attention, or a SwiGLU over the sequence axis (official `mlp_t`; the norm behind it is over that axis too).
    """

    def __init__(self, config: ModelConfig, length: int) -> None:
        super().__init__()
        if config.mixer == "mlp":
            self.mlp_t = SwiGLU(length, config.inner_size(length))
        else:
            self.self_attn = Attention(config)
        self.mixes_by_attention = config.mixer == "attention"
        self.mlp = SwiGLU(config.hidden_size, config.inner_size(config.hidden_size))

    def forward(self, x: Tensor, rotary: Rotary | None) -> Tensor:  # [B, S, D] -> [B, S, D]
        if self.mixes_by_attention:
            x = rms_norm(x + self.self_attn(x, rotary))
        else:
            across = x.transpose(1, 2)  # [B, D, S]
            x = rms_norm(across + self.mlp_t(across)).transpose(1, 2)
        return rms_norm(x + self.mlp(x))


class BlockStack(nn.Module):
    """A network: blocks one after the other."""

    def __init__(self, config: ModelConfig, length: int, layers: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Block(config, length) for _ in range(layers))

    def forward(self, x: Tensor, rotary: Rotary | None) -> Tensor:  # [B, S, D] -> [B, S, D]
        for layer in self.layers:
            x = layer(x, rotary)
        return x
