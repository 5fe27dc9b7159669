from __future__ import annotations

import pytest

from mrt_reward.mini import MODEL_DIR
from mrt_reward.provers.tokenizer import HFTokenizer


@pytest.fixture(scope="session")
def mini_tokenizer() -> HFTokenizer:
    return HFTokenizer(MODEL_DIR)
