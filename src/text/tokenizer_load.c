/* A snapshot folder's files. There is one reader, for tokenizer.json; a folder that has only
 * vocab.txt, or vocab.json and merges.txt, gets the tokenizer.json that transformers' converters
 * (BertConverter, MPNetConverter, RobertaConverter) would have written for it. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bug.h"
#include "tokenizer_private.h"

#define MAX_FILE_BYTES (256u << 20)

/* Whole, into `a`. A missing file is {NULL, 0} when it may be missing. */
static struct err *read_file(const char *folder, const char *name, bool optional, struct arena *a,
                             struct str *out)
{
    *out = (struct str){NULL, 0};
    struct str path = arena_printf(a, "%s/%s", folder, name);
    int fd = open(path.p, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0 && errno == ENOENT && optional)
        return NULL;
    if (fd < 0)
        return err_new(ERR_ARGUMENT, "cannot open the file [%s]: %s", name, strerror(errno));
    struct err *err = NULL;
    struct stat st;
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode) || st.st_size > MAX_FILE_BYTES) {
        err = err_new(ERR_ARGUMENT, "[%s] is not a file of at most %u bytes", name, MAX_FILE_BYTES);
        goto out;
    }
    size_t n = 0, size = (size_t)st.st_size;
    char *p = arena_alloc(a, size + 1);
    while (n < size) {
        ssize_t got = read(fd, p + n, size - n);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            break;
        n += (size_t)got;
    }
    *out = (struct str){p, n};
    if (n < size)
        err = err_new(ERR_ARGUMENT, "cannot read the file [%s]", name);
out:
    close(fd);
    return err;
}

/* Puts the file's name before what is wrong in it. */
static struct err *in_file(struct err *cause, const char *name)
{
    if (!cause)
        return NULL;
    struct err *err = err_new(ERR_ARGUMENT, "file [%s]: %s", name, cause->reason);
    err_free(cause);
    return err;
}

static struct err *parse(struct arena *a, const char *name, struct str text,
                         const struct json **out)
{
    TRY(in_file(json_parse(a, text, out), name));
    return json_is(*out, JSON_OBJECT) ? NULL
                                      : err_new(ERR_ARGUMENT, "file [%s]: must be an object", name);
}

enum role { UNK, SEP, PAD, CLS, MASK, N_ROLES };

struct bert_config {
    bool lowercase, chinese, has_strip, strip;
    bool roberta; /* special tokens around texts, and their names, as RoBERTa has them */
    struct str special[N_ROLES];
};

static struct err *config_flag(const struct json *config, const char *name, bool preset, bool *out)
{
    const struct json *j = json_get(config, name);
    *out = preset;
    if (json_is_null(j) || json_bool(j, out))
        return NULL;
    return err_new(ERR_ARGUMENT, "member [%s] must be true or false", name);
}

/* A special token is its text, or an object that has it as "content". */
static struct err *config_token(const struct json *config, const char *name, const char *preset,
                                struct str *out)
{
    const struct json *j = json_get(config, name);
    *out = str_c(preset);
    if (json_is_null(j) || json_str(json_is(j, JSON_OBJECT) ? json_get(j, "content") : j, out))
        return NULL;
    return err_new(ERR_ARGUMENT, "member [%s] must be a string", name);
}

/* The presets of BertTokenizer, MPNetTokenizer and RobertaTokenizer. */
enum family { BERT, MPNET, ROBERTA, N_FAMILIES };

static struct err *read_specials(const struct json *config, enum family family,
                                 struct str special[N_ROLES])
{
    static const char *const names[N_ROLES] = {
        [UNK] = "unk_token", [SEP] = "sep_token",   [PAD] = "pad_token",
        [CLS] = "cls_token", [MASK] = "mask_token",
    };
    static const char *const presets[N_FAMILIES][N_ROLES] = {
        [BERT] = {"[UNK]", "[SEP]", "[PAD]", "[CLS]", "[MASK]"},
        [MPNET] = {"[UNK]", "</s>", "<pad>", "<s>", "<mask>"},
        [ROBERTA] = {"<unk>", "</s>", "<pad>", "<s>", "<mask>"},
    };
    for (size_t i = 0; i < N_ROLES; i++)
        TRY(config_token(config, names[i], presets[family][i], &special[i]));
    return NULL;
}

static struct err *read_config(const struct json *config, struct bert_config *out)
{
    struct str class = {NULL, 0};
    json_str(json_get(config, "tokenizer_class"), &class);
    out->roberta = str_starts(class, STR("MPNet"));
    TRY(config_flag(config, "do_lower_case", true, &out->lowercase));
    TRY(config_flag(config, "tokenize_chinese_chars", true, &out->chinese));
    out->has_strip = !json_is_null(json_get(config, "strip_accents"));
    TRY(config_flag(config, "strip_accents", false, &out->strip));
    return read_specials(config, out->roberta ? MPNET : BERT, out->special);
}

/* The line a token stands on, counted from 0; the last of several. -1: on none. */
static int64_t line_of(struct str lines, struct str token)
{
    int64_t found = -1, i = 0;
    struct str line;
    for (; str_split(&lines, '\n', &line); i++) {
        if (line.n && line.p[line.n - 1] == '\r')
            line.n--;
        if (str_eq(line, token))
            found = i;
    }
    return found;
}

static void put_special(struct json_out *w, int64_t id, struct str token, bool lstrip)
{
    json_obj(w);
    json_key_i64(w, "id", id);
    json_key_str(w, "content", token);
    json_key_bool(w, "special", true);
    json_key_bool(w, "lstrip", lstrip);
    json_key_bool(w, "normalized", false);
    json_end(w);
}

static void put_named(struct json_out *w, const char *key, struct str token, int64_t id)
{
    json_key(w, key);
    json_arr(w);
    json_put_str(w, token);
    json_put_i64(w, id);
    json_end(w);
}

static void put_normalizer(struct json_out *w, const struct bert_config *c)
{
    json_key(w, "normalizer");
    json_obj(w);
    json_key_cstr(w, "type", "BertNormalizer");
    json_key_bool(w, "clean_text", true);
    json_key_bool(w, "handle_chinese_chars", c->chinese);
    json_key_bool(w, "lowercase", c->lowercase);
    if (c->has_strip)
        json_key_bool(w, "strip_accents", c->strip);
    json_end(w);
}

/* Those that the vocabulary does not have are left out; template and model ask for what they need.
 * RoBERTa's mask takes the white space before it along. */
static void put_specials(struct json_out *w, const struct str *special, const int64_t *id,
                         bool roberta)
{
    json_key(w, "added_tokens");
    json_arr(w);
    for (size_t i = 0; i < N_ROLES; i++) {
        if (id[i] >= 0)
            put_special(w, id[i], special[i], roberta && i == MASK);
    }
    json_end(w);
}

static struct err *put_processor(struct json_out *w, const struct str *special, const int64_t *id,
                                 bool roberta, bool prefix_space)
{
    if (id[CLS] < 0 || id[SEP] < 0)
        return err_new(ERR_ARGUMENT, "the token [%.*s] is missing",
                       STR_ARG(special[id[CLS] < 0 ? CLS : SEP]));
    json_key(w, "post_processor");
    json_obj(w);
    json_key_cstr(w, "type", roberta ? "RobertaProcessing" : "BertProcessing");
    put_named(w, "cls", special[CLS], id[CLS]);
    put_named(w, "sep", special[SEP], id[SEP]);
    json_key_bool(w, "trim_offsets", true);
    json_key_bool(w, "add_prefix_space", prefix_space);
    json_end(w);
    return NULL;
}

static struct err *put_tokenizer(struct json_out *w, const struct bert_config *c, struct str lines)
{
    int64_t id[N_ROLES];
    for (size_t i = 0; i < N_ROLES; i++)
        id[i] = line_of(lines, c->special[i]);
    json_obj(w);
    put_normalizer(w, c);
    put_specials(w, c->special, id, c->roberta);
    json_key_raw(w, "pre_tokenizer", STR("{\"type\":\"BertPreTokenizer\"}"));
    TRY(put_processor(w, c->special, id, c->roberta, false));
    json_key(w, "model");
    json_obj(w);
    json_key_cstr(w, "type", "WordPiece");
    json_key_str(w, "unk_token", c->special[UNK]);
    json_end(w);
    json_end(w);
    return NULL;
}

/* {NULL, 0}: there is none. */
static struct err *open_config(const char *folder, struct arena *a, const struct json **out)
{
    struct str text;
    *out = NULL;
    TRY(read_file(folder, "tokenizer_config.json", true, a, &text));
    return text.p ? parse(a, "tokenizer_config.json", text, out) : NULL;
}

/* A line per merge; the first may say which version of the format it is. */
static void put_merges(struct json_out *w, struct str lines)
{
    struct str line;
    json_key(w, "merges");
    json_arr(w);
    while (str_split(&lines, '\n', &line)) {
        if (line.n && line.p[line.n - 1] == '\r')
            line.n--;
        if (line.n && !str_starts(line, STR("#version")))
            json_put_str(w, line);
    }
    json_end(w);
}

static struct err *put_bpe(struct json_out *w, const struct json *config, const struct json *vocab,
                           struct str merges)
{
    struct str special[N_ROLES];
    int64_t id[N_ROLES];
    bool prefix_space;
    TRY(config_flag(config, "add_prefix_space", false, &prefix_space));
    TRY(read_specials(config, ROBERTA, special));
    for (size_t i = 0; i < N_ROLES; i++) {
        if (!json_i64(json_get_str(vocab, special[i]), &id[i]))
            id[i] = -1;
    }
    json_obj(w);
    put_specials(w, special, id, true);
    json_key(w, "pre_tokenizer");
    json_obj(w);
    json_key_cstr(w, "type", "ByteLevel");
    json_key_bool(w, "add_prefix_space", prefix_space);
    json_end(w);
    TRY(put_processor(w, special, id, true, prefix_space));
    json_key(w, "model");
    json_obj(w);
    json_key_cstr(w, "type", "BPE");
    json_key_raw(w, "vocab", json_raw(vocab));
    put_merges(w, merges);
    json_end(w);
    json_end(w);
    return NULL;
}

static struct err *open_bpe(const char *folder, struct arena *a, struct str text,
                            struct tokenizer **out)
{
    const struct json *vocab, *config, *root;
    struct str merges;
    TRY(parse(a, "vocab.json", text, &vocab));
    TRY(read_file(folder, "merges.txt", false, a, &merges));
    TRY(open_config(folder, a, &config));
    struct buf b;
    buf_init(&b, (size_t)4 * MAX_FILE_BYTES);
    struct json_out w;
    json_out_init(&w, &b);
    struct err *err = put_bpe(&w, config, vocab, merges);
    if (!err && b.full)
        err = err_new(ERR_ARGUMENT, "too large");
    if (!err)
        err = json_parse(a, buf_str(&b), &root);
    if (!err)
        err = tokenizer_read(root, (struct str){NULL, 0}, out);
    buf_deinit(&b);
    return in_file(err, "vocab.json");
}

static struct err *open_vocab(const char *folder, struct arena *a, struct tokenizer **out)
{
    struct str lines, text;
    const struct json *config;
    TRY(read_file(folder, "vocab.json", true, a, &text));
    if (text.p)
        return open_bpe(folder, a, text, out);
    TRY(read_file(folder, "vocab.txt", true, a, &lines));
    if (!lines.p)
        return err_new(ERR_ARGUMENT, "there is no [tokenizer.json], no [vocab.json] with "
                                     "[merges.txt] and no [vocab.txt]");
    TRY(open_config(folder, a, &config));
    struct bert_config c;
    TRY(in_file(read_config(config, &c), "tokenizer_config.json"));
    struct buf b;
    buf_init(&b, 1 << 20);
    struct json_out w;
    json_out_init(&w, &b);
    const struct json *root = NULL;
    struct err *err = put_tokenizer(&w, &c, lines);
    if (!err && b.full)
        err = err_new(ERR_ARGUMENT, "special tokens are too long");
    if (!err)
        err = json_parse(a, buf_str(&b), &root);
    if (!err)
        err = tokenizer_read(root, lines, out);
    buf_deinit(&b);
    return in_file(err, "vocab.txt");
}

struct err *tokenizer_open_snapshot(const char *folder, struct tokenizer **out)
{
    struct arena *a = arena_new(ARENA_NO_LIMIT);
    struct str text;
    const struct json *root;
    struct err *err = read_file(folder, "tokenizer.json", true, a, &text);
    if (!err && !text.p)
        err = open_vocab(folder, a, out);
    else if (!err)
        err = parse(a, "tokenizer.json", text, &root);
    if (!err && text.p)
        err = in_file(tokenizer_read(root, (struct str){NULL, 0}, out), "tokenizer.json");
    arena_free(a);
    return err;
}
