/* Any bytes as text for BPE and Unigram, whole and in parts, alone and in pairs: offsets stay
 * inside, ids in range, and where a text was cut cannot be told. */
#include <stdlib.h>

#include "tokenizer_private.h"

#define VOCAB                                                                                      \
    "\"vocab\":{\"<unk>\":0,\"<s>\":1,\"</s>\":2,\"a\":3,\"b\":4,\"ab\":5,\"\xC4\xA0\":6,"         \
    "\"\xC4\xA0"                                                                                   \
    "a\":7,\"\xC3\x83\":8,\"\xC2\xA9\":9,\"\xC3\x83\xC2\xA9\":10,\"abab\":11}"
#define POST                                                                                       \
    "\"post_processor\":{\"type\":\"RobertaProcessing\",\"cls\":[\"<s>\",1],\"sep\":[\"</s>\",2]," \
    "\"trim_offsets\":true,\"add_prefix_space\":true},"                                            \
    "\"added_tokens\":[{\"id\":1,\"content\":\"<s>\",\"lstrip\":true,\"normalized\":true},"        \
    "{\"id\":2,\"content\":\"</s>\",\"normalized\":false}],"
#define MERGES "\"merges\":[\"a b\",\"ab ab\",\"\xC4\xA0 a\",\"\xC3\x83 \xC2\xA9\"]"
#define PIECES                                                                                     \
    "\"vocab\":[[\"<unk>\",0],[\"<s>\",0],[\"</s>\",0],[\"a\",-2],[\"b\",-2.5],[\"ab\",-3],"       \
    "[\"\xE2\x96\x81\",-1],[\"\xE2\x96\x81"                                                        \
    "ab\",-2],[\"bab\",-4],[\"\xC3\xA9\",-3],[\"aba\",-3.5],[\"<0xC3>\",-9]]"

static const char *const configs[] = {
    "{" POST "\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":true},"
    "\"model\":{\"type\":\"BPE\"," VOCAB "," MERGES "}}",
    "{" POST "\"normalizer\":{\"type\":\"NFC\"},\"pre_tokenizer\":{\"type\":\"ByteLevel\","
    "\"add_prefix_space\":false},\"model\":{\"type\":\"BPE\",\"unk_token\":\"<unk>\","
    "\"ignore_merges\":true," VOCAB "," MERGES "}}",
    "{" POST "\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"NFKD\"},"
    "{\"type\":\"StripAccents\"},{\"type\":\"Lowercase\"},{\"type\":\"Replace\",\"pattern\":"
    "{\"Regex\":\" {2,}\"},\"content\":\" \"}]},\"pre_tokenizer\":{\"type\":\"Metaspace\","
    "\"replacement\":\"\xE2\x96\x81\"},\"model\":{\"type\":\"Unigram\",\"unk_id\":0," PIECES "}}",
    "{" POST "\"normalizer\":{\"type\":\"Strip\",\"strip_left\":true,\"strip_right\":true},"
    "\"pre_tokenizer\":{\"type\":\"Metaspace\",\"replacement\":\"\xE2\x96\x81\",\"split\":false,"
    "\"prepend_scheme\":\"first\"},\"model\":{\"type\":\"Unigram\",\"unk_id\":0,"
    "\"byte_fallback\":true," PIECES "}}",
};

#define N_CONFIGS (sizeof(configs) / sizeof(configs[0]))

static void check(const struct tokens *t, size_t n, uint32_t max)
{
    if (t->n > max || t->n > t->n_untruncated || t->truncated != (t->n_untruncated > max))
        abort();
    for (uint32_t i = 0; i < t->n; i++) {
        if (t->ids[i] < 0 || t->ids[i] > 11 || t->begin[i] > n || t->end[i] > n)
            abort();
    }
}

static void same(const struct tokens *x, const struct tokens *y)
{
    if (x->n != y->n || x->n_untruncated != y->n_untruncated)
        abort();
    for (uint32_t i = 0; i < x->n; i++) {
        if (x->ids[i] != y->ids[i] || x->begin[i] != y->begin[i] || x->end[i] != y->end[i])
            abort();
    }
}

static struct tokenizer *get(struct arena *a, size_t which)
{
    static struct tokenizer *made[N_CONFIGS];
    const struct json *root;
    if (!made[which] && (json_parse(a, str_c(configs[which]), &root) ||
                         tokenizer_read(root, (struct str){NULL, 0}, &made[which])))
        abort();
    return made[which];
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    struct arena *a = arena_new(ARENA_NO_LIMIT);
    struct tokenizer *t = get(a, data[0] % N_CONFIGS);
    struct window w = {.max_tokens = 4 + data[1]};
    struct str text = {(const char *)data + 2, size - 2};
    struct tokens whole, parts, pair;
    t->part_bytes = 1u << 20;
    if (tokenizer_encode(t, a, text, str_n(NULL, 0), &w, &whole))
        abort();
    check(&whole, text.n, w.max_tokens);
    t->part_bytes = 1;
    if (tokenizer_encode(t, a, text, str_n(NULL, 0), &w, &parts))
        abort();
    same(&whole, &parts);
    if (tokenizer_encode(t, a, text, text, &w, &pair))
        abort();
    check(&pair, text.n, w.max_tokens);
    arena_free(a);
    return 0;
}
