/* role_mappings: rules that give roles to users of outside realms. They are checked, kept and shown
 * as Elasticsearch does it; there is no outside realm here, so nobody gets a role by one.
 * Source: Elasticsearch 9.1, "Create or update role mappings" and "Role mapping resources". */
#include "log.h"
#include "private.h"

/* The deepest rule in a rule; each level is one call of check_rule. */
#define MAX_DEPTH 32

/* --- rules --- */

static struct err *check_values(const struct json *field)
{
    struct json_iter it = json_iter(field);
    const struct json *value = json_next(&it);
    if (field->n != 1)
        return err_new(ERR_PARSE,
                       "failed to parse rules expression. expected a single field name but found "
                       "[%u]",
                       field->n);
    if (json_is(value, JSON_OBJECT))
        return err_new(ERR_PARSE,
                       "failed to parse rules expression. expected a field value but found an "
                       "object instead");
    if (!json_is(value, JSON_ARRAY) || value->flat)
        return NULL;
    it = json_iter(value);
    for (const struct json *v; (v = json_next(&it));) {
        if (json_is(v, JSON_OBJECT) || json_is(v, JSON_ARRAY))
            return err_new(ERR_PARSE, "failed to parse rules expression. a field may be compared "
                                      "with strings, numbers, booleans and null alone");
    }
    return NULL;
}

static struct err *check_rule(const struct json *rule, bool in_all, int depth);

static struct err *check_rules(const struct json *list, int depth)
{
    if (!json_is(list, JSON_ARRAY) || (list->flat && list->n))
        return err_new(ERR_PARSE,
                       "failed to parse rules expression. expected [%.*s] to be an "
                       "array of rules",
                       STR_ARG(list->key));
    struct json_iter it = json_iter(list);
    bool in_all = str_eq(list->key, STR("all"));
    for (const struct json *v; (v = json_next(&it));)
        TRY(check_rule(v, in_all, depth + 1));
    return NULL;
}

static struct err *check_rule(const struct json *rule, bool in_all, int depth)
{
    if (depth > MAX_DEPTH)
        return err_new(ERR_PARSE, "failed to parse rules expression. rules may be [%d] deep",
                       MAX_DEPTH);
    if (!json_is(rule, JSON_OBJECT) || rule->n != 1)
        return err_new(ERR_PARSE, "failed to parse rules expression. expected an object with "
                                  "exactly one rule");
    struct json_iter it = json_iter(rule);
    const struct json *m = json_next(&it);
    if (str_eq(m->key, STR("any")) || str_eq(m->key, STR("all")))
        return check_rules(m, depth);
    if (str_eq(m->key, STR("except"))) {
        if (!in_all)
            return err_new(ERR_PARSE, "failed to parse rules expression. field [except] is not "
                                      "allowed outside of [all]");
        return check_rule(m, false, depth + 1);
    }
    if (!str_eq(m->key, STR("field")))
        return err_new(ERR_PARSE,
                       "failed to parse rules expression. field [%.*s] is not recognised in a rule",
                       STR_ARG(str_sub(m->key, 0, 200)));
    if (!json_is(m, JSON_OBJECT))
        return err_new(ERR_PARSE, "failed to parse rules expression. expected [field] to be an "
                                  "object");
    return check_values(m);
}

/* --- what they give --- */

static struct err *check_roles(const struct json *roles)
{
    struct str name;
    if (json_is_null(roles))
        return NULL;
    if (!json_is(roles, JSON_ARRAY) || (roles->flat && roles->n))
        return err_new(ERR_PARSE, "expected field [roles] to be an array of strings");
    struct json_iter it = json_iter(roles);
    for (const struct json *v; (v = json_next(&it));) {
        if (!json_str(v, &name))
            return err_new(ERR_PARSE, "expected field [roles] to be an array of strings");
    }
    return NULL;
}

static struct err *check_template(const struct json *v)
{
    static const char *const names[] = {"template", "format", NULL};
    struct str format;
    if (!json_is(v, JSON_OBJECT))
        return err_new(ERR_PARSE, "expected field [role_templates] to be an array of objects");
    TRY(only_members(v, "role-mapping-template", names));
    const struct json *template = json_get(v, "template");
    if (!json_is(template, JSON_OBJECT) && !json_is(template, JSON_STRING))
        return err_new(ERR_PARSE, "Required [template]");
    TRY(text_member(v, "format", &format));
    if (format.p && !str_eq(format, STR("string")) && !str_eq(format, STR("json")))
        return err_new(ERR_ARGUMENT, "Invalid format [%.*s], expected one of [STRING, JSON]",
                       STR_ARG(str_sub(format, 0, 200)));
    return NULL;
}

static struct err *check_templates(const struct json *templates)
{
    if (json_is_null(templates))
        return NULL;
    if (!json_is(templates, JSON_ARRAY) || (templates->flat && templates->n))
        return err_new(ERR_PARSE, "expected field [role_templates] to be an array of objects");
    struct json_iter it = json_iter(templates);
    for (const struct json *v; (v = json_next(&it));)
        TRY(check_template(v));
    return NULL;
}

static uint32_t length(const struct json *list)
{
    return json_is(list, JSON_ARRAY) ? list->n : 0;
}

static struct err *check_whole(const struct json *body)
{
    struct err_list list = {0};
    if (json_is_null(json_get(body, "rules")))
        err_list_add(&list, "role-mapping rules are missing");
    if (!length(json_get(body, "roles")) && !length(json_get(body, "role_templates")))
        err_list_add(&list, "role-mapping roles or role-templates are missing");
    if (length(json_get(body, "roles")) && length(json_get(body, "role_templates")))
        err_list_add(&list, "role-mapping cannot have both roles and role-templates");
    return err_list_end(&list, ERR_REQUEST);
}

/* As it is stored and shown. */
static struct str mapping_text(struct arena *a, const struct json *body, bool enabled,
                               struct str metadata)
{
    struct buf b;
    struct json_out w;
    const struct json *templates = json_get(body, "role_templates");
    buf_init(&b, SIZE_MAX);
    json_out_init(&w, &b);
    json_obj(&w);
    json_key_bool(&w, "enabled", enabled);
    if (length(templates)) {
        json_key(&w, "role_templates");
        json_put_node(&w, templates);
    } else {
        json_key(&w, "roles");
        json_put_node(&w, json_get(body, "roles"));
    }
    json_key(&w, "rules");
    json_put_node(&w, json_get(body, "rules"));
    json_key_raw(&w, "metadata", metadata);
    json_end(&w);
    struct str text = arena_dup(a, buf_str(&b));
    buf_deinit(&b);
    return text;
}

static struct err *mapping_read(struct arena *a, const struct json *body, struct str *out)
{
    static const char *const names[] = {"enabled", "roles",    "role_templates",
                                        "rules",   "metadata", NULL};
    bool enabled = true;
    struct str metadata;
    TRY(only_members(body, "role-mapping", names));
    const struct json *v = json_get(body, "enabled");
    if (!json_is_null(v) && !json_bool(v, &enabled))
        return err_new(ERR_PARSE, "expected field [enabled] to be a boolean");
    TRY(check_roles(json_get(body, "roles")));
    TRY(check_templates(json_get(body, "role_templates")));
    TRY(metadata_member(body, "metadata keys", &metadata));
    TRY(check_whole(body));
    TRY(check_rule(json_get(body, "rules"), false, 1));
    *out = mapping_text(a, body, enabled, metadata);
    return NULL;
}

/* --- the resource --- */

struct err *role_mapping_put(struct security *s, struct security_call *c)
{
    struct str text = {0};
    struct doc old;
    TRY(check_name("Role mapping", c->name));
    TRY(mapping_read(c->arena, c->body, &text));
    pthread_mutex_lock(&s->writing);
    struct err *absent = store_get(s->store, STORE_ROLE_MAPPING, c->name, c->arena, &old);
    bool created = absent && absent->kind == ERR_NOT_FOUND;
    struct err *e = created ? NULL : absent;
    if (created)
        err_free(absent);
    if (!e)
        e = store_put(s->store, STORE_ROLE_MAPPING, c->name, text, STORE_ANY_REV, NULL);
    pthread_mutex_unlock(&s->writing);
    if (e)
        return e;
    log_info("role mapping put", LOG_S("role_mapping", c->name), LOG_C("by", c->user->name));
    json_obj(c->out);
    json_key(c->out, "role_mapping");
    json_obj(c->out);
    json_key_bool(c->out, "created", created);
    json_end(c->out);
    json_end(c->out);
    return NULL;
}

struct err *role_mapping_get(struct security *s, struct security_call *c)
{
    struct docs docs;
    size_t n = 0;
    TRY(store_list(s->store, STORE_ROLE_MAPPING, c->arena, &docs));
    json_obj(c->out);
    for (size_t i = 0; i < docs.n; i++) {
        if (c->name.p && !name_listed(c->name, docs.v[i].id))
            continue;
        json_key_s(c->out, docs.v[i].id);
        json_put_raw(c->out, docs.v[i].body);
        n++;
    }
    json_end(c->out);
    c->status = c->name.p && !n ? 404 : 200;
    return NULL;
}

struct err *role_mapping_delete(struct security *s, struct security_call *c)
{
    struct doc old;
    pthread_mutex_lock(&s->writing);
    struct err *e = store_get(s->store, STORE_ROLE_MAPPING, c->name, c->arena, &old);
    bool found = !e;
    if (found)
        e = store_drop(s->store, STORE_ROLE_MAPPING, c->name, STORE_ANY_REV);
    pthread_mutex_unlock(&s->writing);
    if (e && (found || e->kind != ERR_NOT_FOUND))
        return e;
    err_free(e);
    if (found)
        log_info("role mapping deleted", LOG_S("role_mapping", c->name),
                 LOG_C("by", c->user->name));
    json_obj(c->out);
    json_key_bool(c->out, "found", found);
    json_end(c->out);
    c->status = found ? 200 : 404;
    return NULL;
}
