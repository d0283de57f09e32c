#include "service.h"

#include <sodium.h>
#include <stdlib.h>

#include "bug.h"
#include "secret.h"

static const struct {
    struct str name, descriptor;
} table[] = {
#define X(name, descriptor) {STR_INIT(name), STR_INIT(descriptor)},
#include "services.def"
#undef X
};
#define N_SERVICES (sizeof table / sizeof *table)

/* --- accounts --- */

static struct err *read_service(struct arena *a, size_t i, struct service *out)
{
    static const char *const nobody[] = {NULL};
    const struct json *body;
    struct role *role = NULL;
    TRY(json_parse(a, table[i].descriptor, &body));
    TRY(role_read(a, table[i].name, body, &role));
    out->role = role;
    out->rights.roles = arena_array(a, 1, sizeof *out->rights.roles);
    rights_add(&out->rights, role);
    const char *full =
        arena_cstr(a, arena_printf(a, "Service account - %.*s", STR_ARG(table[i].name)));
    out->account = (struct account){.full_name = full,
                                    .metadata = STR("{\"_elastic_service_account\":true}"),
                                    .realm = SERVICE_REALM,
                                    .realm_type = SERVICE_REALM,
                                    .authentication_type = "token",
                                    .enabled = true};
    out->account.user = (struct user){.name = table[i].name.p,
                                      .roles = nobody,
                                      .privileges = out->rights.bits,
                                      .own = &out->rights,
                                      .account = &out->account,
                                      .with_token = true};
    return NULL;
}

struct err *services_open(struct services *s)
{
    s->arena = arena_new(ARENA_NO_LIMIT);
    s->v = arena_array(s->arena, N_SERVICES, sizeof *s->v);
    for (s->n = 0; s->n < N_SERVICES; s->n++)
        TRY(read_service(s->arena, s->n, &s->v[s->n]));
    return NULL;
}

void services_close(struct services *s)
{
    arena_free(s->arena);
}

const struct service *services_find(const struct services *s, struct str name)
{
    for (size_t i = 0; i < s->n; i++)
        if (str_eq_c(name, s->v[i].account.user.name))
            return &s->v[i];
    return NULL;
}

/* --- one token --- */

static void token_end(struct counted *c)
{
    struct service_token *t = (struct service_token *)c; /* its first member */
    arena_free(t->arena);
    free(t);
}

void service_token_unref(const struct service_token *t)
{
    if (t)
        counted_unref((struct counted *)(uintptr_t)&t->counted);
}

/* "elastic/fleet-server/token1" into account and name. */
static bool split_id(struct str id, struct str *service, struct str *name)
{
    size_t at = id.n;
    int slashes = 0;
    for (size_t i = 0; i < id.n; i++) {
        slashes += id.p[i] == '/';
        if (id.p[i] == '/')
            at = i;
    }
    if (slashes != 2)
        return false;
    *service = str_sub(id, 0, at);
    *name = str_sub(id, at + 1, id.n);
    return true;
}

static bool read_members(struct service_token *t, const struct json *root)
{
    struct str s;
    size_t n = 0;
    return json_str(json_get(root, "hash"), &s) &&
           sodium_base642bin(t->hash, sizeof t->hash, s.p, s.n, NULL, &n, NULL,
                             sodium_base64_VARIANT_ORIGINAL) == 0 &&
           n == sizeof t->hash && json_str(json_get(root, "creator"), &t->creator) &&
           json_i64(json_get(root, "creation"), &t->created_ms);
}

struct err *service_token_read(const struct services *services, const struct doc *d,
                               struct service_token **out)
{
    struct service_token *t = mem_new(sizeof *t);
    const struct json *root;
    struct str service;
    counted_init(&t->counted, token_end);
    t->arena = arena_new(ARENA_NO_LIMIT);
    t->id = arena_dup(t->arena, d->id);
    struct err *e = json_parse_copy(t->arena, d->body, &root);
    if (!e && (!split_id(t->id, &service, &t->name) || !read_members(t, root)))
        e = err_new(ERR_CORRUPT, "a member is missing");
    if (e) {
        service_token_unref(t);
        return err_wrap(e, ERR_CORRUPT, "the stored service token [%.*s] cannot be read",
                        STR_ARG(d->id));
    }
    t->service = services_find(services, service);
    if (t->service) {
        t->user = t->service->account.user;
        t->user.token_name = arena_cstr(t->arena, t->name);
        t->user.keeper = &t->counted;
    }
    *out = t;
    return NULL;
}

void service_token_render(const struct service_token *t, struct buf *out)
{
    struct json_out w;
    char hash[sodium_base64_ENCODED_LEN(KEY_HASH_BYTES, sodium_base64_VARIANT_ORIGINAL)];
    sodium_bin2base64(hash, sizeof hash, t->hash, sizeof t->hash, sodium_base64_VARIANT_ORIGINAL);
    json_out_init(&w, out);
    json_obj(&w);
    json_key_cstr(&w, "hash", hash);
    json_key_str(&w, "creator", t->creator);
    json_key_i64(&w, "creation", t->created_ms);
    json_end(&w);
}

bool service_token_is(const struct service_token *t, struct str secret)
{
    unsigned char hash[KEY_HASH_BYTES];
    key_hash(t->id, secret, hash);
    return sodium_memcmp(hash, t->hash, sizeof hash) == 0;
}

bool service_name_ok(struct str name)
{
    bool ok = name.n >= 1 && name.n <= SERVICE_NAME_MAX && name.p[0] != '_';
    for (size_t i = 0; ok && i < name.n; i++) {
        char c = name.p[i];
        ok = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
             c == '-' || c == '_';
    }
    return ok;
}

/* --- the table --- */

static void tokens_end(struct counted *c)
{
    struct service_tokens *tokens = (struct service_tokens *)c; /* its first member */
    for (size_t i = 0; i < tokens->n; i++)
        service_token_unref(tokens->v[i]);
    free(tokens);
}

struct service_tokens *service_tokens_new(size_t room)
{
    struct service_tokens *tokens = mem_new(sizeof *tokens + room * sizeof tokens->v[0]);
    counted_init(&tokens->counted, tokens_end);
    return tokens;
}

void service_tokens_add(struct service_tokens *tokens, struct service_token *t)
{
    tokens->v[tokens->n++] = t;
}

static int by_id(const void *a, const void *b)
{
    return str_cmp((*(struct service_token *const *)a)->id,
                   (*(struct service_token *const *)b)->id);
}

void service_tokens_sort(struct service_tokens *tokens)
{
    qsort(tokens->v, tokens->n, sizeof tokens->v[0], by_id);
}

static struct err *read_all(struct store *store, const struct services *services, struct arena *tmp,
                            struct service_tokens **out)
{
    struct docs docs;
    TRY(store_list(store, STORE_SERVICE_TOKEN, tmp, &docs));
    struct service_tokens *tokens = service_tokens_new(docs.n);
    for (size_t i = 0; i < docs.n; i++) {
        struct service_token *t = NULL;
        struct err *e = service_token_read(services, &docs.v[i], &t);
        if (e) {
            counted_unref(&tokens->counted);
            return e;
        }
        service_tokens_add(tokens, t);
    }
    service_tokens_sort(tokens);
    *out = tokens;
    return NULL;
}

struct err *service_tokens_read(struct store *store, const struct services *services,
                                struct service_tokens **out)
{
    struct arena *tmp = arena_new(ARENA_NO_LIMIT);
    struct err *e = read_all(store, services, tmp, out);
    arena_free(tmp);
    return e;
}

const struct service_token *service_tokens_find(const struct service_tokens *tokens, struct str id)
{
    size_t lo = 0, hi = tokens->n;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        int order = str_cmp(tokens->v[mid]->id, id);
        if (order == 0)
            return tokens->v[mid];
        if (order < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return NULL;
}

/* --- what a request comes with --- */

static bool read_bearer(struct str token, struct service_bearer *b)
{
    static const unsigned char prefix[] = {0, 1, 0, 1};
    size_t n = 0;
    const char *end = NULL;
    while (token.n && token.p[token.n - 1] == '=')
        token.n--; /* with padding it is the same token */
    if (sodium_base642bin(b->bytes, sizeof b->bytes, token.p, token.n, NULL, &n, &end,
                          sodium_base64_VARIANT_ORIGINAL_NO_PADDING) != 0 ||
        end != token.p + token.n || n < sizeof prefix ||
        memcmp(b->bytes, prefix, sizeof prefix) != 0)
        return false;
    struct str text = str_n((const char *)b->bytes + sizeof prefix, n - sizeof prefix);
    size_t colon = str_find_char(text, ':');
    if (colon == SIZE_MAX)
        return false;
    b->id = str_sub(text, 0, colon);
    b->secret = str_sub(text, colon + 1, text.n);
    return split_id(b->id, &b->service, &b->name) && service_name_ok(b->name);
}

bool service_bearer_read(struct str token, struct service_bearer *out)
{
    if (!str_starts(token, STR("AAEA"))) /* the first three bytes; most tokens end here */
        return false;
    bool is = read_bearer(token, out);
    if (!is)
        service_bearer_wipe(out);
    return is;
}

void service_bearer_wipe(struct service_bearer *b)
{
    secret_wipe(b, sizeof *b);
}
