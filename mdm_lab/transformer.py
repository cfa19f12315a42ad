r"""The network of the book: one small pre-norm transformer, for both kinds of model.

With `causal=False` every position sees every other: logits for p(x_0^i | x_t). With `causal=True`
a position sees itself and what stands before it: logits for p(x^i | x^{<i}) when the input is the
text shifted right behind `mask_id`. Nothing else differs, so that a comparison of the two compares
the models and not the networks.

    h = E[x]
    h = h + attention(norm(h))     queries and keys turned by their position (rotary)
    h = h + mlp(norm(h))           in each layer
    logits = W norm(h)             V of them: the mask is an input and never an output

Chapter: book/masked-diffusion/denoiser.
"""

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.functional import gelu, linear, scaled_dot_product_attention

from mdm_lab.checks import check_positive_int

ROTARY_BASE = 10_000.0
ONEDNN = hasattr(torch.ops.mkldnn, "_linear_pointwise")  # an operation of torch.compile's


@dataclass(frozen=True)
class Shape:
    """How large a network is: width d, layers, heads of d / heads numbers each (an even number)."""

    vocab_size: int
    width: int = 64
    layers: int = 2
    heads: int = 4
    causal: bool = False

    def __post_init__(self):
        for name in ("vocab_size", "width", "layers", "heads"):
            check_positive_int(getattr(self, name), name)
        if self.width % (2 * self.heads):
            raise ValueError(
                f"width must be a multiple of 2 * heads = {2 * self.heads}, as positions turn the "
                f"numbers of a head in pairs; got {self.width}"
            )


class Transformer(nn.Module):
    """Tokens 0 .. vocab_size (the last is the mask), (num, length), to logits (num, length, V)."""

    def __init__(self, shape):
        super().__init__()
        self.shape = shape
        self.vocab_size = self.mask_id = shape.vocab_size
        self.embedding = nn.Embedding(shape.vocab_size + 1, shape.width)
        self.blocks = nn.ModuleList(Block(shape) for _ in range(shape.layers))
        self.head = nn.Linear(shape.width, shape.vocab_size, bias=False)
        self.register_buffer("angles", _angles(shape.width // shape.heads), persistent=False)
        self.reset()

    def reset(self, seed=0):
        """Draw all weights anew from a seed, the same on every device.

        Normal, of variance 1 for the embedding and 1 / (numbers that go in) for the others, divided
        by 2 layers where a block adds to the stream; the head a tenth as large, so that the first
        answers are nearly uniform.
        """
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for name, weight in self.named_parameters():
                scale = 1.0 if name == "embedding.weight" else weight.shape[1] ** -0.5
                if name.endswith("out.weight"):
                    scale /= (2 * self.shape.layers) ** 0.5
                elif name == "head.weight":
                    scale /= 10
                weight.copy_(scale * torch.randn(weight.shape, generator=generator))
        return self

    def forward(self, tokens, cache=None):
        """Logits (num, length, V) of int64 tokens (num, length).

        With a `Cache` (causal networks only) the tokens follow those already in it and are added.
        """
        start = 0 if cache is None else cache.begin(tokens)
        h = self.embedding(tokens)
        if cache is None:
            turn = _turns(self.angles, 0, tokens.shape[1], h.dtype)
        else:
            turn = cache.turns(tokens.shape[1])
        for index, block in enumerate(self.blocks):
            h = block(h, turn, cache.layer(index) if cache is not None else None, start)
        if cache is not None:
            cache.length += tokens.shape[1]
        return self.head(_norm(h))

    @property
    def parameters_count(self):
        """The number of weights: (2 V + 1) d + 12 layers d^2."""
        return sum(weight.numel() for weight in self.parameters())

    def _apply(self, fn, recurse=True):
        # the angles stay float64 through .bfloat16() and the like, whose eight bits would round
        # positions above 256 to each other
        angles = self.angles
        super()._apply(fn, recurse)
        self.angles = angles.to(self.embedding.weight.device)
        return self


class Block(nn.Module):
    """A layer: attention, then a two-layer perceptron of width 4 d, each added to its input."""

    def __init__(self, shape):
        super().__init__()
        self.heads, self.causal = shape.heads, shape.causal
        self.qkv = nn.Linear(shape.width, 3 * shape.width, bias=False)
        self.attention_out = nn.Linear(shape.width, shape.width, bias=False)
        self.up = nn.Linear(shape.width, 4 * shape.width, bias=False)
        self.down_out = nn.Linear(4 * shape.width, shape.width, bias=False)

    def forward(self, h, turn, cached, start):
        """h (num, length, d) to the same; `cached` holds keys and values of `start` positions."""
        product = nn.Module.__call__ if cached is None else _product
        one = cached is not None and h.shape[1] == 1
        attend = self._attend_to_all if one else self._attend
        h = h + product(self.attention_out, attend(_norm(h), turn, cached, start))
        return h + product(self.down_out, gelu(product(self.up, _norm(h))))

    def _attend(self, h, turn, cached, start):
        num, length, width = h.shape
        q, k, v = self.qkv(h).view(num, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        q, k = _rotate(q, turn), _rotate(k, turn)
        if cached is None:
            mixed = scaled_dot_product_attention(q, k, v, is_causal=self.causal)
        else:
            keys, values = cached
            end = start + length
            keys[:, :, start:end], values[:, :, start:end] = k, v
            seen = torch.ones(length, end, dtype=torch.bool, device=h.device).tril(start)
            mixed = scaled_dot_product_attention(q, keys[:, :, :end], values[:, :, :end], seen)
        return mixed.transpose(1, 2).reshape(num, length, width)

    def _attend_to_all(self, h, turn, cached, start):
        """`_attend` of one new token, which may look at everything that is there.

        The formula written out: kernels made for many queries are slow for one.
        """
        num, _, width = h.shape
        qkv = _product(self.qkv, h).view(num, 3, self.heads, -1)
        q, k = _rotate(qkv[:, :2], turn).unbind(dim=1)
        keys, values = cached
        keys[:, :, start], values[:, :, start] = k, qkv[:, 2]
        q = (q * q.shape[-1] ** -0.5).view(num * self.heads, 1, -1)
        weights = torch.bmm(q, keys.flatten(0, 1)[:, : start + 1].mT).softmax(dim=-1)
        return torch.bmm(weights, values.flatten(0, 1)[:, : start + 1]).view(num, 1, width)


class Cache:
    """Keys and values of what a causal network has read: room for `length` tokens of `num` rows."""

    def __init__(self, network, num, length):
        shape = network.shape
        if not shape.causal:
            raise ValueError("a cache needs a causal network: elsewhere what is cached changes")
        weight = network.embedding.weight
        size = (shape.layers, 2, num, shape.heads, length, shape.width // shape.heads)
        self.store = torch.empty(size, dtype=weight.dtype, device=weight.device)
        self.layers = [layer.unbind() for layer in self.store]
        self.turn = _turns(network.angles, 0, length, weight.dtype)
        self.length = 0

    def begin(self, tokens):
        """The position of the first of `tokens` (num, length); ValueError if there is no room."""
        num, room = self.store.shape[2], self.store.shape[4] - self.length
        if len(tokens) != num or tokens.shape[1] > room:
            raise ValueError(
                f"tokens must be ({num}, at most {room}): the cache is for {num} rows, and "
                f"{self.length} of its {room + self.length} places are taken; got "
                f"{tuple(tokens.shape)}"
            )
        return self.length

    def turns(self, length):
        """`_turns` of the next `length` positions."""
        cos, sin = self.turn
        return cos[self.length : self.length + length], sin[self.length : self.length + length]

    def layer(self, index):
        """(keys, values) of a layer, each (num, heads, length, d / heads)."""
        return self.layers[index]


def flops(shape, length, cached=False):
    """Floating point operations of a pass over one sequence, two for a product with its sum.

    Matrix products alone (eq-flops): those of the layers, of queries with keys, of attention with
    values, and the head. A causal network is counted as if it computed what it then hides. Norms,
    rotation, softmax and the perceptron's nonlinearity are not counted.

    cached  the pass of one token, the last of `length`, the others being in a `Cache`. A text that
            is written token by token costs the sum over its lengths.
    """
    length = check_positive_int(length, "length")
    queries = 1 if cached else length
    products = shape.layers * 12 * shape.width**2 + shape.width * shape.vocab_size
    return 2 * queries * (products + shape.layers * 2 * shape.width * length)


def _product(layer, x):
    """layer(x), x (num, length, numbers), for a cached pass.

    PyTorch leaves float32 products on the CPU to MKL. From about two million multiplications on,
    oneDNN takes less time: half of it where MKL does not use all that the processor has. It has no
    gradient.
    """
    weight = layer.weight
    if (
        x.numel() * weight.shape[0] >= 2**21
        and ONEDNN
        and x.device.type == "cpu"
        and x.dtype == weight.dtype == torch.float32
        and not torch.is_grad_enabled()
    ):
        return torch.ops.mkldnn._linear_pointwise(x, weight, None, "none", [], "")
    return linear(x, weight)


def _norm(h):
    return torch.rms_norm(h, h.shape[-1:])


def _angles(size):
    """Radians by which one position turns each pair of numbers of a head: (size / 2,)."""
    return ROTARY_BASE ** (-torch.arange(0, size, 2, dtype=torch.float64) / size)


def _turns(angles, start, length, dtype):
    """cos and sin for `_rotate` at positions start .. start + length - 1: each (length, size).

    From float64 angles, for numbers of `dtype`: float32, or float64 if they are.
    """
    positions = torch.arange(start, start + length, device=angles.device, dtype=angles.dtype)
    turned = positions[:, None] * torch.cat([-angles, angles])
    dtype = torch.promote_types(dtype, torch.float32)
    return turned.cos().to(dtype), turned.sin().to(dtype)


def _rotate(x, turn):
    """x (..., length, size), its first half and its second as the two parts of complex numbers."""
    cos, sin = turn
    return (x * cos + x.roll(x.shape[-1] // 2, dims=-1) * sin).to(x.dtype)
