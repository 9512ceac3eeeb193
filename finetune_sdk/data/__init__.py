"""Any common dataset in, canonical examples out. See docs/data.md."""

from finetune_sdk.data.dataset import Dataset
from finetune_sdk.data.detect import Detection, detect
from finetune_sdk.data.prepare import Prepared, prepare

__all__ = ["Dataset", "Detection", "Prepared", "detect", "prepare"]
