"""Trains the tokenizer: byte-level BPE, so that any text round-trips.

Its corpus is what every Python installation has (the language reference of `pydoc`, docstrings and comments of the
standard library) and the task's own text: nothing is downloaded, and the same Python version gives the same tokenizer.
"""

from __future__ import annotations

import ast
import json
import re
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from pydoc_data.topics import topics

import numpy as np
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from mrt_reward.mini import template
from mrt_reward.mini.island import NUM_PLACES, sample_problem
from mrt_reward.mini.writer import BASE_SLOPPINESS, write_thinking

VOCAB_SIZE = 4096
MAX_POSITIONS = 65_536

# A number never joins a brace or a letter, so `{17}` is the same three tokens wherever it stands. It does join the
# space before it: what stands before a place is then one token away, which halves the steps to learn copying.
_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+| ?\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_SPECIAL_TOKENS = (template.PAD, template.TURN_OPEN, template.TURN_CLOSE)
_THINK_TOKENS = (template.THINK_OPEN, template.THINK_CLOSE)
_WORD = re.compile(r"[A-Za-z][a-z']*[,.;:?!]?")
_NOT_EVERYWHERE = frozenset({"site-packages", "dist-packages", "test", "idlelib", "lib2to3"})
_NUM_TASK_TRACES = 400
_PLACE_REPEATS = 2_000


def _sources() -> Iterator[Path]:
    """Top-level modules and packages of the standard library, in the order of their names."""
    root = Path(sysconfig.get_paths()["stdlib"])
    for path in sorted([*root.glob("*.py"), *root.glob("[a-z]*/*.py")]):
        if not _NOT_EVERYWHERE & set(path.parts):
            yield path


def _documentation(path: Path) -> Iterator[str]:
    """Docstrings and comments of one module."""
    source = path.read_bytes().decode("utf-8", errors="ignore")
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield ast.get_docstring(node) or ""
    yield "\n".join(line.strip()[2:] for line in source.splitlines() if line.strip().startswith("# "))


def prose(text: str) -> Iterator[str]:
    """Lines of at least five words that are English rather than code."""
    for line in text.splitlines():
        words = line.split()
        if len(words) >= 5 and sum(_WORD.fullmatch(word) is not None for word in words) >= 0.85 * len(words):
            yield " ".join(words)


def corpus(seed: int) -> Iterator[str]:
    """Texts that the tokenizer learns from: English, and the task in its own words."""
    for name in sorted(topics):
        yield from prose(topics[name])
    for path in _sources():
        for text in _documentation(path):
            yield from prose(text)
    rng = np.random.default_rng(seed)
    for _ in range(_NUM_TASK_TRACES):
        problem = sample_problem(rng)
        yield f"{problem.text}\n{write_thinking(problem, BASE_SLOPPINESS, rng).text}{template.TERMINATOR}"
    # Every place must be one token; none may depend on how often it was drawn above.
    for place in range(NUM_PLACES):
        yield f"{place} {place}\n" * _PLACE_REPEATS


def train_tokenizer(seed: int = 0) -> Tokenizer:
    """Learn the vocabulary: `VOCAB_SIZE` entries, delimiters and special tokens included."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_SPLIT), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB_SIZE - len(_THINK_TOKENS),
        special_tokens=list(_SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(corpus(seed), trainer)
    # Not special, as in Qwen3: decoding without special tokens keeps the delimiters.
    tokenizer.add_tokens([AddedToken(token, special=False, normalized=False) for token in _THINK_TOKENS])
    spelled = [f"{lead}{place}" for place in range(NUM_PLACES) for lead in ("", " ")]
    lacking = [text for text in spelled if len(token_ids(tokenizer, text)) != 1]
    if lacking or tokenizer.get_vocab_size() != VOCAB_SIZE:
        raise RuntimeError(f"places {lacking} are not single tokens, or {tokenizer.get_vocab_size()} != {VOCAB_SIZE}")
    return tokenizer


def save_tokenizer(tokenizer: Tokenizer, folder: Path) -> None:
    """Write `tokenizer.json` and a `tokenizer_config.json` that transformers 4 and 5 both read."""
    tokenizer.save(str(folder / "tokenizer.json"))
    # Written by hand: transformers 5 would name a tokenizer class that version 4 does not have.
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "added_tokens_decoder": {
            str(tokenizer.token_to_id(token)): {
                "content": token,
                "lstrip": False,
                "normalized": False,
                "rstrip": False,
                "single_word": False,
                "special": token in _SPECIAL_TOKENS,
            }
            for token in (*_SPECIAL_TOKENS, *_THINK_TOKENS)
        },
        "additional_special_tokens": [template.TURN_OPEN],
        "bos_token": None,
        "chat_template": template.CHAT_TEMPLATE,
        "clean_up_tokenization_spaces": False,
        "eos_token": template.TURN_CLOSE,
        "model_max_length": MAX_POSITIONS,
        "pad_token": template.PAD,
        "unk_token": None,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=2, ensure_ascii=False) + "\n")


def load_tokenizer(folder: Path) -> Tokenizer:
    """Read the tokenizer of a model folder, without transformers."""
    return Tokenizer.from_file(str(folder / "tokenizer.json"))


def token_ids(tokenizer: Tokenizer, text: str) -> list[int]:
    """Ids of a text that is tokenized on its own; nothing is put in front or behind."""
    return tokenizer.encode(text, add_special_tokens=False).ids
