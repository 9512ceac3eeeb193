"""The environment variables a worker gets: the few it needs, and the secrets it is given; nothing by accident."""

from __future__ import annotations

import os
from collections.abc import Mapping

_NAMES = frozenset(
    {
        *(
            "PATH",
            "HOME",
            "USER",
            "LOGNAME",
            "LANG",
            "LANGUAGE",
            "TZ",
            "TMPDIR",
            "TERM",
            "LD_LIBRARY_PATH",
            "CC",
            "CXX",
        ),
        *("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "all_proxy", "no_proxy"),
        *("CC", "CXX", "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"),
    }
)
_PREFIXES = (
    *("LC_", "XDG_", "HF_", "HUGGINGFACE_", "HUGGING_FACE_", "TRANSFORMERS_", "TOKENIZERS_", "ACCELERATE_", "BNB_"),
    *("CUDA_", "NVIDIA_", "NCCL_", "GLOO_", "ROCR_", "HIP_", "HSA_", "TORCH_", "TORCHINDUCTOR_", "PYTORCH_", "TRITON_"),
    *("OMP_", "MKL_", "OPENBLAS_", "KMP_", "GOMP_", "WANDB_", "MLFLOW_", "TRACKIO_", "TENSORBOARD_"),
)
_FIXED = {
    "PYTHONSAFEPATH": "1",
    "PYTHONNOUSERSITE": "1",
    "PYTHONUNBUFFERED": "1",
    "PYTHONFAULTHANDLER": "1",
    "PYTHONUTF8": "1",
}


def minimal(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """What a worker needs of our environment, then `extra` on top: the way for secrets, which never go into a file."""
    ours = {name: value for name, value in os.environ.items() if name in _NAMES or name.startswith(_PREFIXES)}
    return {**ours, **_FIXED, **(extra or {})}
