#!/usr/bin/env python3
"""Compares tokenizers of uploaded vocabularies with huggingface/tokenizers, over all kinds of text.

Needs `pip install tokenizers sentencepiece`, a build with tests, the wheel sentencepiece 0.1.91
unpacked (its library has the character map that XLM-RoBERTa and DeBERTa were trained with), and a
unigram model to take pieces from (a .model of sentencepiece, any):

    python3 tests/tokenization_sweep.py build/src/text/tokenizer_dump LIBRARY PIECES.model TEXT_FILE...

Swept, as xlm_roberta and as deberta_v2: every code point between two letters; random mixtures of
scripts, marks and mask tokens, alone and in pairs; the text files, in pieces. Exit status 1 if
anything differs. For DeBERTa ids alone are compared: the reference joins unknown characters before it
falls back to their bytes, which all get the place of the whole. "as converted" is DeBERTa's own
tokenizer of Hugging Face, which does not split at white space as Elasticsearch does: differences
there are counted, not held against us.
"""
import json
import os
import random
import sys
import tempfile

import sentencepiece
from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers

from tokenizer_sweep import ALL, MARKS, SCRIPTS, byte_offsets, ours, pieces, random_text

MAP_START = bytes.fromhex("00b4020000840000000000800100")
MAP_BYTES = 237539


def character_map(library):
    with open(library, "rb") as f:
        data = f.read()
    at = data.index(MAP_START)
    return data[at:at + MAP_BYTES]


def uploads(path):
    model = sentencepiece.SentencePieceProcessor(model_file=path)
    found = [(model.id_to_piece(i), model.get_score(i)) for i in range(model.get_piece_size())
             if not (model.is_control(i) or model.is_unknown(i))]
    xlm = [("<s>", 0.0), ("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)] + found + [("<mask>", 0.0)]
    deberta = [("[PAD]", 0.0), ("[CLS]", 0.0), ("[SEP]", 0.0), ("[UNK]", 0.0)]
    deberta += [("<0x%02X>" % b, 0.0) for b in range(256)] + found + [("[MASK]", 0.0)]
    return xlm, deberta


def reference(vocabulary, charsmap, unknown, masks, fallback, converted=False):
    t = Tokenizer(models.Unigram(vocabulary, unk_id=unknown, byte_fallback=fallback))
    t.normalizer = normalizers.Precompiled(charsmap)
    metaspace = pre_tokenizers.Metaspace(replacement="\u2581", prepend_scheme="always")
    t.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), metaspace])
    if converted:
        t.normalizer = normalizers.Sequence([normalizers.Strip(), t.normalizer,
                                             normalizers.Replace(Regex(" {2,}"), " ")])
        t.pre_tokenizer = metaspace
    t.add_special_tokens([AddedToken(m, normalized=False, special=True) for m in masks])
    return t


def theirs(t, a, b):
    out = []
    for text in (a, b):
        if text is None:
            continue
        e = t.encode(text, add_special_tokens=False)
        at = byte_offsets(text)
        out += list(zip(e.ids, [(at[x], at[y]) for x, y in e.offsets]))
    return out


def compare(tool, options, upload, label, t, cases, ids_only):
    differ = 0
    with tempfile.NamedTemporaryFile("w", suffix=".json", encoding="utf-8") as f:
        json.dump(upload, f)
        f.flush()
        answers = dump(tool, options, f.name, cases)
        for (a, b, _), (ids, _, offsets, _) in zip(cases, answers):
            want, got = theirs(t, a, b), list(zip(ids, offsets))
            if ids_only:
                want, got = [x for x, _ in want], ids
            if want != got:
                differ += 1
                if differ <= 3:
                    print(f"{label}: {ascii((a, b))}\n  want {want[:40]}\n  got  {got[:40]}")
    print(f"{label}: {len(cases)} cases, {differ} differ", flush=True)
    return differ


def dump(tool, options, path, cases):
    """tokenizer_sweep.ours, with two arguments for the tool instead of one."""
    with tempfile.NamedTemporaryFile("w", delete=False) as script:
        script.write('#!/bin/sh\nexec "%s" \'%s\' "$1"\n' % (os.path.abspath(tool), options))
    os.chmod(script.name, 0o755)
    try:
        yield from ours(script.name, path, cases)
    finally:
        os.unlink(script.name)


def random_cases(r, n, masks):
    pools = (SCRIPTS, MARKS, masks, ["  ", "\u3000", "a", "the", "e\u0301", "\u1112\u1161\u11ab"], ALL,
             "ab ,. A\t\n\r")
    for _ in range(n):
        b = random_text(r, (SCRIPTS, masks), 6) if r.random() < 0.3 else None
        yield random_text(r, pools, 16), b, 0


def main():
    tool, library, model, files = sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4:]
    charsmap = character_map(library)
    xlm, deberta = uploads(model)
    five = ["[UNK]", "[SEP]", "[PAD]", "[CLS]", "[MASK]"]
    differ = 0
    for name, vocabulary, masks, fallback, converted in (
            ("xlm_roberta", xlm, ["<mask>"], False, False),
            ("deberta_v2", deberta, five, True, False),
            ("deberta_v2, as converted", deberta, five, True, True)):
        options = json.dumps({name.split(",")[0]: {"with_special_tokens": False}})
        upload = {"vocabulary": [v for v, _ in vocabulary], "scores": [s for _, s in vocabulary]}
        t = reference(vocabulary, charsmap, 3, masks, fallback, converted)
        for what, cases in (("code points", [("a" + c + "b", None, 0) for c in ALL if c != "\0"]),
                            ("random", list(random_cases(random.Random(7), 60000, masks))),
                            ("files", [(a, b, 0) for a, b, _ in pieces(files)])):
            n = compare(tool, options, upload, f"{name}, {what}", t, cases,
                        fallback)
            differ += 0 if converted else n
    sys.exit(1 if differ else 0)


if __name__ == "__main__":
    main()
