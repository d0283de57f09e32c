"""Tiny random models of every architecture that Eland takes, with tokenizers made from this project's own
texts. Nothing is downloaded: a folder per model, as transformers saves it."""

from pathlib import Path

import sentencepiece as spm
import torch
import transformers as tf
from tokenizers import ByteLevelBPETokenizer

ROOT = Path(__file__).resolve().parents[2]
WORDS = """the a of and to in is for with on as by at from it that this be are was not no yes or an what which who how
server model text query answer city paris london berlin river sky blue green red dog cat jumps over lazy quick brown fox john
smith lives works france germany capital good bad movie great terrible news sport science world""".split()
LABELS = {"ner": ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"], "text_classification": ["NEGATIVE", "NEUTRAL", "POSITIVE"],
          "zero_shot_classification": ["contradiction", "neutral", "entailment"], "text_similarity": ["LABEL_0"]}
SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64,
         "max_position_embeddings": 400, "initializer_range": 0.35}


def corpus():
    texts = [p.read_text(encoding="utf-8") for p in sorted(ROOT.glob("*.md")) + sorted((ROOT / "docs").glob("*.md"))]
    more = ["Größe und Straße, naïve café, El Niño año nuevo", "Привет мир, как дела", "日本語の文章です", "안녕하세요 세계"] * 20
    return [line for t in texts for line in t.splitlines() if line.strip()] + more + [" ".join(WORDS)] * 20


def wordpiece(folder, specials):
    letters = [chr(c) for c in range(33, 127)]
    tokens = specials + letters + ["##" + c for c in letters if c.isalnum()] + WORDS
    tokens = list(dict.fromkeys(tokens))
    (folder / "vocab.txt").write_text("\n".join(tokens) + "\n", encoding="utf-8")
    return len(tokens)


def bert_tokenizer(folder, kind=tf.BertTokenizer, lower=True):
    wordpiece(folder, ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"])
    return kind(str(folder / "vocab.txt"), do_lower_case=lower, model_max_length=128)


def mpnet_tokenizer(folder):
    wordpiece(folder, ["<s>", "<pad>", "</s>", "[UNK]", "<mask>"])
    return tf.MPNetTokenizer(str(folder / "vocab.txt"), do_lower_case=True, model_max_length=128)


def bpe_tokenizer(folder, kind):
    t = ByteLevelBPETokenizer()
    t.train_from_iterator(corpus(), vocab_size=700, special_tokens=["<s>", "<pad>", "</s>", "<unk>", "<mask>"])
    t.save_model(str(folder))
    return kind(str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=128)


def train_spm(folder, name, **options):
    (folder / "corpus.txt").write_text("\n".join(corpus()), encoding="utf-8")
    spm.SentencePieceTrainer.train(input=str(folder / "corpus.txt"), model_prefix=str(folder / name), minloglevel=2,
                                   character_coverage=0.999, normalization_rule_name="nmt_nfkc", **options)


def xlm_tokenizer(folder):
    train_spm(folder, "sentencepiece.bpe", vocab_size=700)
    return tf.XLMRobertaTokenizer(str(folder / "sentencepiece.bpe.model"), model_max_length=128)


def deberta_tokenizer(folder):
    train_spm(folder, "spm", vocab_size=900, pad_id=0, bos_id=1, eos_id=2, unk_id=3, pad_piece="[PAD]",
              bos_piece="[CLS]", eos_piece="[SEP]", unk_piece="[UNK]", byte_fallback=True)
    return tf.DebertaV2Tokenizer(str(folder / "spm.model"), model_max_length=128, do_lower_case=False)


def bert_config(t, **more):
    return tf.BertConfig(**{**SMALL, "vocab_size": len(t), **more})


# architecture: tokenizer, config, {head: class}
TASKS = ("fill_mask", "ner", "text_classification", "question_answering", "plain")


def heads(prefix):
    return {"fill_mask": prefix + "ForMaskedLM", "ner": prefix + "ForTokenClassification",
            "text_classification": prefix + "ForSequenceClassification",
            "question_answering": prefix + "ForQuestionAnswering", "plain": prefix + "Model"}


ARCHITECTURES = {
    "bert": (bert_tokenizer, bert_config, heads("Bert")),
    "distilbert": (lambda f: bert_tokenizer(f, tf.DistilBertTokenizer),
                   lambda t, **m: tf.DistilBertConfig(**{"vocab_size": len(t), "dim": 32, "n_layers": 2, "n_heads": 4,
                                                         "hidden_dim": 64, "max_position_embeddings": 400,
                                                         "initializer_range": 0.35, **m}), heads("DistilBert")),
    "electra": (lambda f: bert_tokenizer(f, tf.ElectraTokenizer),
                lambda t, **m: tf.ElectraConfig(**{**SMALL, "vocab_size": len(t), "embedding_size": 16, **m}),
                heads("Electra")),
    "mpnet": (mpnet_tokenizer, lambda t, **m: tf.MPNetConfig(**{**SMALL, "vocab_size": len(t), **m}), heads("MPNet")),
    "roberta": (lambda f: bpe_tokenizer(f, tf.RobertaTokenizer),
                lambda t, **m: tf.RobertaConfig(**{**SMALL, "vocab_size": len(t), "type_vocab_size": 1, **m}),
                heads("Roberta")),
    "xlm_roberta": (xlm_tokenizer, lambda t, **m: tf.XLMRobertaConfig(**{**SMALL, "vocab_size": len(t),
                                                                        "type_vocab_size": 1, **m}), heads("XLMRoberta")),
    "deberta_v2": (deberta_tokenizer,
                   lambda t, **m: tf.DebertaV2Config(**{**SMALL, "vocab_size": len(t), "type_vocab_size": 0,
                                                        "relative_attention": True, "position_buckets": 16,
                                                        "norm_rel_ebd": "layer_norm", "share_att_key": True,
                                                        "pos_att_type": ["p2c", "c2p"], "position_biased_input": False,
                                                        **m}), heads("DebertaV2")),
    "mobilebert": (lambda f: bert_tokenizer(f, tf.MobileBertTokenizer),
                   lambda t, **m: tf.MobileBertConfig(**{**SMALL, "vocab_size": len(t), "embedding_size": 16,
                                                         "intra_bottleneck_size": 16, "true_hidden_size": 16,
                                                         "num_feedforward_networks": 2, **m}), heads("MobileBert")),
    "squeezebert": (lambda f: bert_tokenizer(f, tf.SqueezeBertTokenizer),
                    lambda t, **m: tf.SqueezeBertConfig(**{**SMALL, "vocab_size": len(t), "embedding_size": 32,
                                                           "q_groups": 2, "k_groups": 2, "v_groups": 2,
                                                           "post_attention_groups": 1, "intermediate_groups": 2,
                                                           "output_groups": 2, **m}), heads("SqueezeBert")),
    "bart": (lambda f: bpe_tokenizer(f, tf.BartTokenizer),
             lambda t, **m: tf.BartConfig(**{"vocab_size": len(t), "d_model": 32, "encoder_layers": 2, "decoder_layers": 2,
                                             "encoder_attention_heads": 4, "decoder_attention_heads": 4,
                                             "encoder_ffn_dim": 64, "decoder_ffn_dim": 64,
                                             "max_position_embeddings": 400, "init_std": 0.35, "use_cache": False, **m}),
             {"text_classification": "BartForSequenceClassification", "plain": "BartModel"}),
    "dpr": (lambda f: bert_tokenizer(f, tf.DPRContextEncoderTokenizer),
            lambda t, **m: tf.DPRConfig(**{**SMALL, "vocab_size": len(t), "projection_dim": 0, **m}),
            {"plain": "DPRContextEncoder"}),
}
# Which head a task's model has.
HEAD = {"fill_mask": "fill_mask", "text_expansion": "fill_mask", "ner": "ner", "question_answering": "question_answering",
        "text_classification": "text_classification", "zero_shot_classification": "text_classification",
        "text_similarity": "text_classification", "text_embedding": "plain", "pass_through": "plain"}
BASIC = ("text_embedding", "text_similarity", "text_classification", "fill_mask", "ner", "question_answering")
MODELS = [("bert", t) for t in HEAD] + [(a, t) for a in ("distilbert", "electra", "mpnet", "roberta", "xlm_roberta")
                                        for t in BASIC] + \
    [("deberta_v2", t) for t in ("text_similarity", "text_classification", "ner", "fill_mask")] + \
    [(a, t) for a in ("mobilebert", "squeezebert") for t in ("text_classification", "fill_mask", "ner")] + \
    [("bart", "zero_shot_classification"), ("bart", "text_classification"), ("dpr", "text_embedding")]


def make(folder, architecture, task):
    """Saves the model and its tokenizer in the folder; gives the model, in eval mode."""
    tokenizer_of, config_of, classes = ARCHITECTURES[architecture]
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = tokenizer_of(folder)
    more = {}
    if task in LABELS:
        names = LABELS[task]
        more = {"id2label": dict(enumerate(names)), "label2id": {n: i for i, n in enumerate(names)}}
    torch.manual_seed(sum(map(ord, architecture + task)))
    config = config_of(tokenizer, **more)
    model = getattr(tf, classes[HEAD[task]])(config).eval()
    model.save_pretrained(str(folder))
    tokenizer.save_pretrained(str(folder))
    return model, tokenizer
