r"""The autoregressive baseline: the same transformer, causal, one token after another.

    p(x) = prod_i p(x^i | x^{<i})

The input is the text shifted right behind the first id after the tokens, which for the diffusion
model is the mask: "nothing here yet". Sampling keeps the keys and values of what has been read (the
cache), always: without it each token costs a pass over all that came before, and a comparison with
diffusion would flatter diffusion. Chapter: book/masked-diffusion/autoregressive.
"""

import torch

from mdm_lab.checks import check_positive_int
from mdm_lab.objectives.batches import autoregressive
from mdm_lab.reverse import inverse_cdf
from mdm_lab.tensors import as_generator, token_tensor, uniforms
from mdm_lab.transformer import Cache


def conditionals(network, x):
    """p(x^i = v | x^{<i}) for every i: float64 (num, length, V), from one pass. x (num, length)."""
    _check_causal(network)
    inputs = autoregressive(token_tensor(x, network.vocab_size, "x"), network.mask_id).inputs
    device = next(network.parameters()).device
    with torch.no_grad():
        return network(inputs.to(device)).double().softmax(dim=-1)


def log_prob(network, x):
    """log p(x), nats: float64 (num,), exact. x (num, length)."""
    probs = conditionals(network, x)
    x = torch.as_tensor(x, device=probs.device)
    return probs.gather(-1, x[..., None])[..., 0].log().sum(dim=1)


def sample_autoregressive(network, num, length, generator, prompt=None, progress=None):
    """`num` sequences, token by token, at temperature 1: int64 (num, length).

    prompt     (k,) or (num, k), k <= length: the first tokens, which stay
    generator  a torch.Generator or a seed. All uniforms are drawn first, one a token, and each
               token is the float64 inverse CDF of its own: a row does not depend on its batch
    progress   called with the number of calls of the network so far, from 0, after each
    The work is done on the device of the network.
    """
    _check_causal(network)
    num, length = check_positive_int(num, "num"), check_positive_int(length, "length")
    device = next(network.parameters()).device
    generator = as_generator(generator)
    u = uniforms((num, length), generator).to(device)
    x = torch.full((num, length + 1), network.mask_id, device=device)  # the start, then the text
    begin = 0
    if prompt is not None:
        prompt = torch.as_tensor(prompt)
        prompt = prompt.expand(num, -1) if prompt.ndim == 1 else prompt
        prompt = token_tensor(prompt, network.vocab_size, "prompt", device=device)
        begin = prompt.shape[1]
        if len(prompt) != num or begin > length:
            raise ValueError(f"prompt must be (k,) or ({num}, k) with k <= length = {length}")
        x[:, 1 : begin + 1] = prompt
    cache = Cache(network, num, length)
    with torch.inference_mode():
        for i in range(begin, length):
            logits = network(x[:, cache.length : i + 1], cache)[:, -1]
            x[:, i + 1] = inverse_cdf(logits.softmax(dim=-1, dtype=torch.float64), u[:, i])
            if progress is not None:
                progress(i - begin)
    return x[:, 1:].clone()


def _check_causal(network):
    if not network.shape.causal:
        raise ValueError("network must be causal: Transformer(Shape(..., causal=True))")
