/* chunking_settings: checks and words as Elasticsearch 9.1 has them. */
#include "chunking.h"

#include "settings_private.h"

static const char *const strategy_names[] = {
    [CHUNK_SENTENCE] = "sentence",
    [CHUNK_WORD] = "word",
    [CHUNK_NONE] = "none",
    [CHUNK_RECURSIVE] = "recursive",
};

#define N_STRATEGIES (sizeof(strategy_names) / sizeof(strategy_names[0]))

static const char scope[] = "chunking_settings";

static const struct str plaintext[] = {
    STR_INIT("(?<!\n)\n\n(?!\n)"),
    STR_INIT("(?<!\n)\n(?!\n)"),
};

static const struct str markdown[] = {
    STR_INIT("\n# "),
    STR_INIT("\n## "),
    STR_INIT("\n### "),
    STR_INIT("\n#### "),
    STR_INIT("\n##### "),
    STR_INIT("\n###### "),
    STR_INIT("\n^(?!\\s*$).*\\n-{1,}\\n"),
    STR_INIT("\n^(?!\\s*$).*\\n={1,}\\n"),
};

static const char *const sentence_members[] = {"strategy", "max_chunk_size", "sentence_overlap",
                                               NULL};
static const char *const word_members[] = {"strategy", "max_chunk_size", "overlap", NULL};
static const char *const recursive_members[] = {"strategy", "max_chunk_size", "separators",
                                                "separator_group", NULL};

static bool is_member(const char *const *names, struct str key)
{
    for (; *names; names++) {
        if (str_eq_c(key, *names))
            return true;
    }
    return false;
}

static void check_members(struct err_list *list, const char *kind, const char *const *names,
                          const struct json *object)
{
    struct buf text;
    int n = 0;
    buf_init(&text, JAVA_TEXT_LIMIT);
    struct json_iter it = json_iter(object);
    for (const struct json *v; (v = json_next(&it));) {
        if (is_member(names, v->key))
            continue;
        buf_cstr(&text, n++ > 0 ? ", " : "");
        buf_put(&text, v->key);
    }
    if (n > 0)
        err_list_add(list, "%s based chunking settings can not have the following settings: [%.*s]",
                     kind, STR_ARG(buf_str(&text)));
    buf_deinit(&text);
}

/* A required positive integer of at least `min`; 0 when it is not there or not right. */
static int read_size(struct err_list *list, const struct json *object, int min)
{
    static const char name[] = "max_chunk_size";
    const struct json *v = json_get(object, name);
    int64_t i;
    if (json_is_null(v))
        problem_missing(list, scope, name);
    else if (!problem_int(list, name, v, &i))
        return 0;
    else if (i < 1)
        problem_positive(list, scope, name, i, "integer");
    else if (i < min)
        problem_below(list, scope, name, (double)i, min);
    else
        return (int)i;
    return 0;
}

static void read_sentence(struct err_list *list, const struct json *object, struct chunking *out)
{
    check_members(list, "Sentence", sentence_members, object);
    out->max_chunk_size = read_size(list, object, 20);
    out->sentence_overlap = 1;
    const struct json *v = json_get(object, "sentence_overlap");
    int64_t i;
    if (json_is_null(v) || !problem_int(list, "sentence_overlap", v, &i))
        return;
    if (i < 0 || i > 1)
        err_list_add(list, "sentence_overlap[%lld] must be either 0 or 1", (long long)i);
    out->sentence_overlap = (int)i;
}

static void read_word(struct err_list *list, const struct json *object, struct chunking *out)
{
    check_members(list, "Word", word_members, object);
    out->max_chunk_size = read_size(list, object, 10);
    const struct json *v = json_get(object, "overlap");
    int64_t i;
    if (json_is_null(v)) {
        problem_missing(list, scope, "overlap");
        return;
    }
    if (!problem_int(list, "overlap", v, &i))
        return;
    int most = out->max_chunk_size / 2;
    if (i < 1)
        problem_positive(list, scope, "overlap", i, "integer");
    else if (out->max_chunk_size > 0 && i > most)
        problem_above(list, scope, "overlap", (double)i, most);
    out->overlap = (int)i;
}

static void read_separators(struct err_list *list, struct arena *arena, const struct json *v,
                            struct chunking *out)
{
    if (!json_is(v, JSON_ARRAY)) {
        problem_type(list, "separators", v, "List");
        return;
    }
    if (v->n == 0) {
        err_list_add(list, "Recursive chunking settings can not have an empty list of separators");
        return;
    }
    struct str *separators = arena_array(arena, v->n, sizeof *separators);
    struct json_iter it = json_iter(v);
    for (const struct json *m; (m = json_next(&it));) {
        struct str s;
        if (!json_str(m, &s)) {
            problem_type(list, "separators", v, "List");
            return;
        }
        separators[out->n_separators++] = arena_dup(arena, s);
    }
    out->separators = separators;
}

static void use_plaintext(struct chunking *out)
{
    out->separators = plaintext;
    out->n_separators = sizeof plaintext / sizeof plaintext[0];
}

static void read_group(struct err_list *list, const struct json *v, struct chunking *out)
{
    struct str s;
    if (!json_str(v, &s)) {
        problem_type(list, "separator_group", v, "String");
    } else if (str_eq_nocase(s, STR("markdown"))) {
        out->separators = markdown;
        out->n_separators = sizeof markdown / sizeof markdown[0];
    } else if (str_eq_nocase(s, STR("plaintext"))) {
        use_plaintext(out);
    } else {
        err_list_add(list,
                     "[%s] Invalid value [%.*s] received. [separator_group] must be one of "
                     "[markdown, plaintext]",
                     scope, STR_ARG(str_sub(s, 0, 200)));
    }
}

static void read_recursive(struct err_list *list, struct arena *arena, const struct json *object,
                           struct chunking *out)
{
    check_members(list, "Recursive", recursive_members, object);
    out->max_chunk_size = read_size(list, object, 10);
    const struct json *separators = json_get(object, "separators");
    const struct json *group = json_get(object, "separator_group");
    if (!json_is_null(separators) && !json_is_null(group))
        err_list_add(list,
                     "Recursive chunking settings can not have both separators and separator_set");
    else if (!json_is_null(separators))
        read_separators(list, arena, separators, out);
    else if (!json_is_null(group))
        read_group(list, group, out);
    else
        use_plaintext(out);
}

static struct err *read_strategy(const struct json *v, enum chunk_strategy *out)
{
    if (json_is_null(v))
        return err_new(ERR_ARGUMENT, "Can't generate Chunker without ChunkingStrategy provided");
    for (unsigned i = 0; i < N_STRATEGIES; i++) {
        if (json_is(v, JSON_STRING) && str_eq_c(v->text, strategy_names[i])) {
            *out = (enum chunk_strategy)i;
            return NULL;
        }
    }
    struct buf text;
    java_text_init(&text);
    java_text(&text, v);
    struct err *e =
        err_new(ERR_ARGUMENT, "Invalid chunkingStrategy %.*s", STR_ARG(java_text_end(&text)));
    buf_deinit(&text);
    return e;
}

struct err *chunking_parse(struct arena *arena, const struct json *object, struct chunking *out)
{
    struct err_list list = {0};
    *out =
        (struct chunking){.strategy = CHUNK_SENTENCE, .max_chunk_size = 250, .sentence_overlap = 1};
    if (json_is_null(object))
        return NULL;
    if (!json_is(object, JSON_OBJECT)) {
        problem_type(&list, scope, object, "Map");
        return err_list_end(&list, ERR_VALIDATION);
    }
    if (object->n == 0)
        return NULL;
    *out = (struct chunking){0};
    TRY(read_strategy(json_get(object, "strategy"), &out->strategy));
    switch (out->strategy) {
    case CHUNK_SENTENCE:
        read_sentence(&list, object, out);
        break;
    case CHUNK_WORD:
        read_word(&list, object, out);
        break;
    case CHUNK_NONE:
        break;
    case CHUNK_RECURSIVE:
        read_recursive(&list, arena, object, out);
        break;
    }
    return err_list_end(&list, ERR_VALIDATION);
}

void chunking_render(struct json_out *w, const struct chunking *c)
{
    json_obj(w);
    json_key_cstr(w, "strategy", strategy_names[c->strategy]);
    if (c->strategy != CHUNK_NONE)
        json_key_i64(w, "max_chunk_size", c->max_chunk_size);
    if (c->strategy == CHUNK_SENTENCE)
        json_key_i64(w, "sentence_overlap", c->sentence_overlap);
    if (c->strategy == CHUNK_WORD)
        json_key_i64(w, "overlap", c->overlap);
    if (c->strategy == CHUNK_RECURSIVE) {
        json_key(w, "separators");
        json_arr(w);
        for (size_t i = 0; i < c->n_separators; i++)
            json_put_str(w, c->separators[i]);
        json_end(w);
    }
    json_end(w);
}
