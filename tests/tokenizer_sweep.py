#!/usr/bin/env python3
"""Compares the tokenizer with huggingface/tokenizers over far more text than the unit tests hold.

Needs `pip install tokenizers==0.21.4`, a build with tests, and a snapshot folder with a
tokenizer.json of the BERT family; takes two to three minutes:

    python3 tests/tokenizer_sweep.py build/src/text/tokenizer_dump SNAPSHOT_FOLDER [TEXT_FILE...]

Swept: every code point between two letters; random mixtures of scripts, marks and special tokens,
alone and in pairs, in small windows; words around the length limit; the text files given, in pieces.
All of it in six configurations made from the snapshot's. Exit status 1 if anything differs.
"""
import array
import json
import os
import random
import struct
import subprocess
import sys
import tempfile
import unicodedata

from tokenizers import Tokenizer

ALL = [chr(c) for c in range(0x110000) if not 0xD800 <= c < 0xE000]
MARKS = [c for c in ALL if unicodedata.combining(c)]
SCRIPTS = [chr(c) for c in range(0x250)] + list(
    "ÀéßİıǅﬀﬁΑΣςάΐẞゔか中각豈🏽👩\u200d\ufe0f\u00a0\u200b\u3000\ufeff\u2028\u1112\u1161\u11ab")
SPECIAL = ["[CLS]", "[SEP]", "[MASK]", "[PAD]", "[UNK]", "[cls]", "[", "<x>", "Éa", "éa", "ab", "abc",
           " e ", "é", "Straße", "STRASSE", "strasse", "  ", "_", "1"]


def byte_offsets(text):
    out = [0]
    for ch in text:
        out.append(out[-1] + len(ch.encode()))
    return out


def ours(tool, folder, cases):
    requests = bytearray()
    for a, b, window in cases:
        x, y = a.encode(), (b or "").encode()
        requests += struct.pack("=4I", b is not None, len(x), len(y), window) + x + y
    out = subprocess.run([tool, folder], input=bytes(requests), stdout=subprocess.PIPE, check=True)
    at = 0
    for _ in cases:
        n, truncated, _ = struct.unpack_from("=3I", out.stdout, at)
        numbers = array.array("i")
        numbers.frombytes(out.stdout[at + 12:at + 12 + 16 * n])
        at += 12 + 16 * n
        yield (list(numbers[:n]), list(numbers[n:2 * n]),
               list(zip(numbers[2 * n:3 * n], numbers[3 * n:])), bool(truncated))


def theirs(tokenizer, a, b, window):
    if window:
        tokenizer.enable_truncation(window)
    else:
        tokenizer.no_truncation()
    e = tokenizer.encode(a, b)
    maps = {0: byte_offsets(a), 1: byte_offsets(b or "")}
    offsets = [(maps[s][x], maps[s][y]) if s is not None else (0, 0)
               for (x, y), s in zip(e.offsets, e.sequence_ids)]
    return e.ids, e.type_ids, offsets, bool(e.overflowing)


def compare(tool, folder, label, cases):
    tokenizer = Tokenizer.from_file(os.path.join(folder, "tokenizer.json"))
    tokenizer.no_padding()
    differ = 0
    for case, got in zip(cases, ours(tool, folder, cases)):
        want = theirs(tokenizer, *case)
        if got != want:
            differ += 1
            if differ <= 3:
                print(f"{label}: {ascii(case)}\n  want {want}\n  got  {got}")
    print(f"{label}: {len(cases)} cases, {differ} differ", flush=True)
    return differ


def random_text(r, pools, longest):
    return "".join(r.choice(r.choice(pools)) for _ in range(r.randint(0, longest)))


def random_cases(r, n):
    pools = (SCRIPTS, MARKS, MARKS, SPECIAL, SPECIAL, ALL, "ab ,. A")
    for _ in range(n):
        b = random_text(r, (SCRIPTS, SPECIAL), 6) if r.random() < 0.4 else None
        yield random_text(r, pools, 16), b, r.choice((0, 0, 3, 4, 5, 6, 8, 11))


def long_words():
    for n in (98, 99, 100, 101, 102, 150):
        for ch in "aéß中́가İ0-":
            yield ch * n, None, 0
            yield "x" + ch * n + "y", None, 0
            yield ch * 50 + "é" + ch * (n - 51), None, 0


def pieces(files):
    for path in files:
        with open(path, encoding="utf-8", errors="replace") as f:
            text = f.read()
        for i in range(0, len(text), 600):
            yield text[i:i + 600], None, 128 if i % 1200 else 0


def user_tokens(config):
    vocab, next_id = config["model"]["vocab"], len(config["model"]["vocab"])
    config["added_tokens"][-1]["lstrip"] = True
    for content, flags in (("Éa", {"single_word": True}), ("ab", {}), ("abc", {"rstrip": True}),
                           ("e", {"single_word": True, "lstrip": True, "normalized": False}),
                           ("<x>", {"rstrip": True, "normalized": False, "special": True}),
                           ("Straße", {"single_word": True, "lstrip": True, "rstrip": True})):
        token = {"id": vocab.get(content, next_id), "content": content, "single_word": False,
                 "lstrip": False, "rstrip": False, "normalized": True, "special": False, **flags}
        next_id += content not in vocab
        config["added_tokens"].append(token)


def configurations(folder):
    with open(os.path.join(folder, "tokenizer.json"), encoding="utf-8") as f:
        text = f.read()
    changes = {"as it is": {}, "cased": {"lowercase": False}, "accents kept": {"strip_accents": False},
               "cased, accents stripped": {"lowercase": False, "strip_accents": True},
               "not cleaned": {"clean_text": False, "handle_chinese_chars": False}, "user tokens": {}}
    for name, change in changes.items():
        config = json.loads(text)
        config["padding"] = config["truncation"] = None
        config["normalizer"].update(change)
        if name == "user tokens":
            user_tokens(config)
        yield name, config


def main():
    tool, folder, files = sys.argv[1], sys.argv[2], sys.argv[3:]
    differ = 0
    for name, config in configurations(folder):
        with tempfile.TemporaryDirectory() as made:
            with open(os.path.join(made, "tokenizer.json"), "w", encoding="utf-8") as f:
                json.dump(config, f)
            for what, cases in (("code points", [("a" + c + "b", None, 0) for c in ALL]),
                                ("random", list(random_cases(random.Random(7), 60000))),
                                ("long words", list(long_words())), ("files", list(pieces(files)))):
                differ += compare(tool, made, f"{name}, {what}", cases)
    sys.exit(1 if differ else 0)


if __name__ == "__main__":
    main()
