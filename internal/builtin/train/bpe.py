"""Makes the tokenizer: CLIP's byte-level byte-pair encoding, trained on captions until every caption word is one token."""

import json
import random
import re
from collections import Counter

from scenes import caption, random_scene

START, END = "<|startoftext|>", "<|endoftext|>"
WORD = re.compile(r"[a-z]+|[0-9]|[^\sa-z0-9]+")


def train(folder, captions=40_000, seed=3):
    """Writes vocab.json, merges.txt and the two config files of a CLIPTokenizer."""
    merges = _merges(_corpus(captions, random.Random(seed)))
    alphabet = _alphabet()
    tokens = alphabet + [c + "</w>" for c in alphabet] + ["".join(pair) for pair in merges]
    vocab = list(dict.fromkeys(tokens)) + [START, END]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps({token: i for i, token in enumerate(vocab)}, ensure_ascii=False))
    (folder / "merges.txt").write_text("#version: 0.2\n" + "".join(f"{a} {b}\n" for a, b in merges))
    _write_configs(folder)
    return len(vocab), len(merges)


def _corpus(captions, rng):
    """Words as tuples of symbols, with counts; the floor makes the rarest words whole tokens too."""
    words = Counter()
    for _ in range(captions):
        words.update(WORD.findall(caption(rng, random_scene(rng)).lower()))
    return {tuple(w[:-1]) + (w[-1] + "</w>",): max(count, 50) for w, count in words.items()}


def _merges(corpus):
    merges = []
    while True:
        pairs = Counter()
        for word, count in corpus.items():
            for pair in zip(word, word[1:]):
                pairs[pair] += count
        if not pairs:
            return merges
        best = max(pairs, key=lambda pair: (pairs[pair], pair))
        merges.append(best)
        corpus = {_merge(word, best): count for word, count in corpus.items()}


def _merge(word, pair):
    out, i = [], 0
    while i < len(word):
        if word[i : i + 2] == pair:
            out.append("".join(pair))
            i += 2
        else:
            out.append(word[i])
            i += 1
    return tuple(out)


def _alphabet():
    """The 256 bytes as printable characters, in CLIP's order."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [b for b in range(256) if b not in printable]
    return [chr(b) for b in printable] + [chr(256 + i) for i in range(len(others))]


def _write_configs(folder):
    def special(text, **more):
        return {"content": text, "single_word": False, "lstrip": False, "rstrip": False, "normalized": True} | more

    def write(name, values):
        (folder / name).write_text(json.dumps(values, indent=2) + "\n")

    names = {"bos_token": START, "eos_token": END, "unk_token": END}
    added = {name: special(text, __type="AddedToken") for name, text in names.items()}
    plain = {name: special(text) for name, text in names.items()}
    config = {
        "add_prefix_space": False,
        "do_lower_case": True,
        "errors": "replace",
        "model_max_length": 77,
        "pad_token": END,
        "tokenizer_class": "CLIPTokenizer",
    }
    write("tokenizer_config.json", config | added)
    write("special_tokens_map.json", plain | {"pad_token": END})
