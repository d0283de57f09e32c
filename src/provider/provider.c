/* provider: the table of services, and its face in GET _services. */
#include <pthread.h>

#include "bug.h"
#include "common.h"
#include "provider.h"

#define X(name) extern const struct provider provider_##name;
#include "table.def"
#undef X

const struct provider *const providers[] = {
#define X(name) &provider_##name,
#include "table.def"
#undef X
};

const size_t n_providers = sizeof providers / sizeof providers[0];

const struct provider *provider_find(struct str name)
{
    for (size_t i = 0; i < n_providers; i++) {
        if (str_eq_c(name, providers[i]->name))
            return providers[i];
    }
    return NULL;
}

const struct provider_task *provider_task(const struct provider *p, enum task task)
{
    for (size_t i = 0; i < p->n_tasks; i++) {
        if (p->tasks[i].task == task)
            return &p->tasks[i];
    }
    return NULL;
}

unsigned provider_tasks(const struct provider *p)
{
    unsigned bits = 0;
    for (size_t i = 0; i < p->n_tasks; i++)
        bits |= TASK_BIT(p->tasks[i].task);
    return bits;
}

/* --- settings --- */

/* Made once for all: a table per provider, in the order of `providers`. Never freed. */
static struct settings_table *extended;

static void extend_all(void)
{
    extended = mem_array(n_providers, sizeof *extended);
    for (size_t i = 0; i < n_providers; i++) {
        const struct settings_table *own = providers[i]->settings;
        struct setting *rows = mem_array(own->n + N_COMMON, sizeof *rows);
        memcpy(rows, own->rows, own->n * sizeof *rows);
        size_t n = own->n;
        for (size_t c = 0; c < N_COMMON; c++) {
            bool useless = c == COMMON_HEDGE && providers[i]->local; /* it would ask itself twice */
            if (!useless)
                rows[n++] = common_rows[c];
        }
        extended[i] = *own;
        extended[i].rows = rows;
        extended[i].n = n;
    }
}

const struct settings_table *provider_settings(const struct provider *p)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, extend_all);
    for (size_t i = 0; i < n_providers; i++) {
        if (providers[i] == p)
            return &extended[i];
    }
    return p->settings;
}

/* --- GET _services --- */

static void render_tasks(struct json_out *w, const char *key, unsigned bits)
{
    json_key(w, key);
    json_arr(w);
    for (enum task t = 0; t < N_TASKS; t++) {
        if (bits & TASK_BIT(t))
            json_put_cstr(w, task_name(t));
    }
    json_end(w);
}

/* Two rows of one name (another default for another task, say) are shown as one. */
static bool shown_before(const struct settings_table *t, size_t row)
{
    for (size_t i = 0; i < row; i++) {
        if (!(t->rows[i].flags & SETTING_UNLISTED) && !strcmp(t->rows[i].name, t->rows[row].name))
            return true;
    }
    return false;
}

static unsigned tasks_of_name(const struct settings_table *t, const char *name)
{
    unsigned bits = 0;
    for (size_t i = 0; i < t->n; i++) {
        if (!strcmp(t->rows[i].name, name))
            bits |= t->rows[i].tasks;
    }
    return bits;
}

static void render_setting(struct json_out *w, const struct setting *s, unsigned tasks)
{
    json_key(w, setting_ui_name(s));
    json_obj(w);
    if (s->ui_default)
        json_key_raw(w, "default_value", str_c(s->ui_default));
    json_key_cstr(w, "description", s->description ? s->description : "");
    json_key_cstr(w, "label", s->label ? s->label : s->name);
    json_key_bool(w, "required", setting_ui_required(s));
    json_key_bool(w, "sensitive", s->place == IN_SECRET);
    json_key_bool(w, "updatable", setting_ui_updatable(s));
    json_key_cstr(w, "type", setting_ui_type(s));
    render_tasks(w, "supported_task_types", tasks);
    json_end(w);
}

/* --- details --- */

static void render_choices(struct json_out *w, const struct setting *s)
{
    if (!s->choices)
        return;
    json_key(w, "choices");
    json_arr(w);
    for (size_t i = 0; s->choices[i]; i++)
        json_put_cstr(w, s->choices[i]);
    json_end(w);
}

static void render_detail(struct json_out *w, const struct setting *s, unsigned tasks)
{
    const char *preset = s->preset ? s->preset : s->ui_default;
    json_obj(w);
    json_key_cstr(w, "name", setting_ui_name(s));
    if (preset)
        json_key_raw(w, "default_value", str_c(preset));
    json_key_cstr(w, "description", s->description ? s->description : "");
    json_key_bool(w, "required", s->flags & SETTING_REQUIRED);
    if (s->required_for)
        render_tasks(w, "required_for", s->required_for & tasks);
    json_key_bool(w, "sensitive", s->place == IN_SECRET);
    json_key_bool(w, "updatable", s->place == IN_TASK || s->flags & SETTING_UPDATABLE);
    json_key_cstr(w, "type", s->type == SETTING_FLOAT ? "float" : setting_ui_type(s));
    render_choices(w, s);
    render_tasks(w, "supported_task_types", tasks);
    json_end(w);
}

/* Every row by itself: two of one name differ in something that is shown. */
static void render_place(struct json_out *w, const char *key, const struct provider *p,
                         bool in_task)
{
    const struct settings_table *t = provider_settings(p);
    json_key(w, key);
    json_arr(w);
    for (size_t i = 0; i < t->n; i++) {
        const struct setting *s = &t->rows[i];
        unsigned tasks = s->tasks & provider_tasks(p);
        if (tasks && !(s->flags & SETTING_INTERNAL) && (s->place == IN_TASK) == in_task)
            render_detail(w, s, tasks);
    }
    json_end(w);
}

static void render_details(struct json_out *w, const struct provider *p)
{
    json_key(w, "settings");
    json_obj(w);
    render_place(w, "service_settings", p, false);
    render_place(w, "task_settings", p, true);
    json_end(w);
    json_key(w, "requests_per_minute");
    json_obj(w);
    for (size_t i = 0; i < p->n_tasks; i++) {
        if (p->tasks[i].default_rpm)
            json_key_i64(w, task_name(p->tasks[i].task), p->tasks[i].default_rpm);
    }
    json_end(w);
}

static void render_provider(struct json_out *w, const struct provider *p, bool details)
{
    const struct settings_table *t = provider_settings(p);
    unsigned bits = provider_tasks(p);
    json_obj(w);
    json_key_cstr(w, "service", p->name);
    json_key_cstr(w, "name", p->label);
    render_tasks(w, "task_types", bits);
    json_key(w, "configurations");
    json_obj(w);
    for (size_t i = 0; i < t->n; i++) {
        unsigned tasks = tasks_of_name(t, t->rows[i].name) & bits;
        if (tasks && !(t->rows[i].flags & SETTING_UNLISTED) && !shown_before(t, i))
            render_setting(w, &t->rows[i], tasks);
    }
    json_end(w);
    if (details)
        render_details(w, p);
    json_end(w);
}

void providers_render(struct json_out *w, enum task task, bool details)
{
    json_arr(w);
    for (size_t i = 0; i < n_providers; i++) {
        if (!providers[i]->unlisted && (task == TASK_ANY || provider_task(providers[i], task)))
            render_provider(w, providers[i], details);
    }
    json_end(w);
}
