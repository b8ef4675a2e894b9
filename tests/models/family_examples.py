"""Examples of every registered family: the parity tests build a reference and a core from each."""

from __future__ import annotations

from typing import Any

import decoder_examples
import encoder_examples

# Empty: encoder and decoder of BART are tested together, and transformers has no class of timm's layout.
EXAMPLES: dict[str, list[dict[str, Any]]] = {
    "AMPLIFY": encoder_examples.AMPLIFY,
    "albert": encoder_examples.ALBERT,
    "bart": [],
    "bert": encoder_examples.BERT,
    "biogpt": decoder_examples.BIOGPT,
    "ctrl": decoder_examples.CTRL,
    "dinov2": encoder_examples.DINOV2,
    "dnabert2": encoder_examples.DNABERT2,
    "esm": encoder_examples.ESM,
    "esmc": encoder_examples.ESMC,
    "falcon": decoder_examples.FALCON,
    "gemma": decoder_examples.GEMMA,
    "gemma2": decoder_examples.GEMMA,
    "gemma3_text": decoder_examples.GEMMA,
    "gena": encoder_examples.GENA,
    "gpt2": decoder_examples.GPT2,
    "gpt_neo": decoder_examples.GPT_NEO,
    "gpt_neox": decoder_examples.GPT_NEOX,
    "gptj": decoder_examples.GPTJ,
    "llama": decoder_examples.LLAMA,
    "mistral": decoder_examples.MISTRAL,
    "modernbert": encoder_examples.MODERNBERT,
    "ntv2": encoder_examples.NTV2,
    "openai-gpt": decoder_examples.GPT1,
    "opt": decoder_examples.OPT,
    "phi": decoder_examples.PHI,
    "progen": decoder_examples.PROGEN2,
    "qwen3": decoder_examples.QWEN3,
    "roberta": encoder_examples.ROBERTA,
    "stablelm": decoder_examples.STABLELM,
    "t5": encoder_examples.T5,
    "timm_vit": [],
    "vit": encoder_examples.VIT,
    "xlnet": encoder_examples.XLNET,
}
