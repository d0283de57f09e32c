#include "added_tokens.h"

#include "bert_chars.h"
#include "bug.h"

void added_set_init(struct added_set *s, const struct added_token *tokens)
{
    *s = (struct added_set){.trie = trie_new(), .tokens = tokens, .only_first = -1, .empty = true};
}

void added_set_deinit(struct added_set *s)
{
    trie_free(s->trie);
    *s = (struct added_set){0};
}

bool added_set_put(struct added_set *s, struct str text, size_t i)
{
    int32_t old;
    if (text.n == 0)
        return true;
    if (!trie_put(s->trie, text, (int32_t)i, &old))
        return false;
    uint8_t byte = (uint8_t)text.p[0];
    if (!s->first[byte])
        s->only_first = s->empty ? byte : -1;
    s->first[byte] = true;
    s->empty = false;
    return true;
}

static bool is(struct str text, size_t i, uint8_t flag, size_t *used_out)
{
    uint32_t c;
    *used_out = bert_utf8((const uint8_t *)text.p + i, text.n - i, &c);
    return bert_char(c)->flags & flag;
}

/* Where the character before byte i begins; i > 0. */
static size_t before(struct str text, size_t i)
{
    size_t from = i >= 4 ? i - 4 : 0;
    for (size_t k = i - 1; k > from && k + 4 > i; k--) {
        if (((uint8_t)text.p[k] & 0xC0) != 0x80)
            return k;
    }
    uint32_t c;
    return bert_utf8((const uint8_t *)text.p + from, i - from, &c) == i - from ? from : i - 1;
}

static bool stands_alone(struct str text, size_t begin, size_t end)
{
    size_t used;
    if (begin > 0 && is(text, before(text, begin), BERT_WORD, &used))
        return false;
    return end == text.n || !is(text, end, BERT_WORD, &used);
}

static size_t strip_left(struct str text, size_t begin, size_t floor)
{
    size_t used;
    while (begin > floor) {
        size_t k = before(text, begin);
        if (!is(text, k, BERT_WHITE, &used))
            break;
        begin = k;
    }
    return begin < floor ? floor : begin;
}

static size_t strip_right(struct str text, size_t end)
{
    size_t used;
    while (end < text.n && is(text, end, BERT_WHITE, &used))
        end += used;
    return end;
}

/* The next position a token may begin at; text.n: none. */
static size_t candidate(const struct added_set *s, struct str text, size_t at)
{
    if (s->only_first >= 0) {
        const char *hit = memchr(text.p + at, s->only_first, text.n - at);
        return hit ? (size_t)(hit - text.p) : text.n;
    }
    while (at < text.n && !s->first[(uint8_t)text.p[at]])
        at++;
    return at;
}

/* Length of the longest token at byte i; 0: none. */
static size_t longest(const struct added_set *s, struct str text, size_t i, int32_t *index_out)
{
    size_t best = 0;
    uint32_t at = TRIE_ROOT;
    for (size_t k = i; k < text.n; k++) {
        at = trie_step(s->trie, at, (uint8_t)text.p[k]);
        if (!at)
            break;
        if (trie_ends(at)) {
            best = k + 1 - i;
            *index_out = trie_value(s->trie, at);
        }
    }
    return best;
}

bool added_next(const struct added_set *s, struct str text, size_t *at, size_t taken,
                struct added_match *out)
{
    if (s->empty)
        return false;
    for (size_t i = *at; i < text.n && (i = candidate(s, text, i)) < text.n;) {
        int32_t index = 0;
        size_t n = longest(s, text, i, &index);
        if (n == 0) {
            i++;
            continue;
        }
        const struct added_token *t = &s->tokens[index];
        size_t begin = i;
        i += n;
        if (t->single_word && !stands_alone(text, begin, i))
            continue;
        *at = i;
        out->token = t;
        out->begin = t->lstrip ? strip_left(text, begin, taken) : begin;
        /* What the last match stripped need not be looked at again. */
        out->end = t->rstrip ? strip_right(text, i > taken ? i : taken) : i;
        return true;
    }
    return false;
}
