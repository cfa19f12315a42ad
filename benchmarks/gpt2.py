"""The peer of the networks: Hugging Face transformers' GPT-2, of the size of one of ours."""

import torch


def gpt2(shape, length):
    """A GPT2LMHeadModel with the width, layers and heads of `shape` and seeded random weights.

    It differs by design: learnt positions, biases, layer norms with weights, and an output matrix
    that is its embedding. So it has the start among its outputs, one more than ours. No dropout.
    """
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=shape.vocab_size + 1,
        n_positions=length,
        n_embd=shape.width,
        n_layer=shape.layers,
        n_head=shape.heads,
        embd_pdrop=0.0,
        resid_pdrop=0.0,
        attn_pdrop=0.0,
        bos_token_id=shape.vocab_size,
        eos_token_id=None,  # nothing ends a text early, and nothing is padded
        attn_implementation="sdpa",
    )
    return GPT2LMHeadModel(config)
