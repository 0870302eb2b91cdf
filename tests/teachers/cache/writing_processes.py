"""Run as a script by test_writing: writes one cache with two processes. Arguments: directory."""

import sys
import warnings

from knowledge_distillation.teachers import write_cache
from tests.teachers.cache.samples import rows_loader, steady

if __name__ == "__main__":
    warnings.simplefilter("ignore")
    write_cache(
        steady(),
        rows_loader(50),
        sys.argv[1],
        {"logits": "float32"},
        views=2,
        shard_bytes=300,
        engine={"accelerator": "cpu", "devices": 2, "strategy": "ddp"},
    )
