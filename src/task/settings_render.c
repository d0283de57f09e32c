/* Values as JSON: what clients see, and what is stored. */
#include "settings_private.h"

static bool shown(const struct setting *row, enum task task, enum setting_place place, bool all)
{
    return row->place == place && (row->tasks & TASK_BIT(task)) &&
           (all || !(row->flags & SETTING_NOT_PRINTED));
}

static void put_adaptive(struct json_out *w, const struct adaptive *a)
{
    json_obj(w);
    json_key_bool(w, "enabled", a->enabled);
    if (a->has_min)
        json_key_i64(w, "min_number_of_allocations", a->min);
    if (a->has_max)
        json_key_i64(w, "max_number_of_allocations", a->max);
    json_end(w);
}

static void put_value(struct json_out *w, const struct setting *row, const struct value *v)
{
    switch (row->type) {
    case SETTING_STR:
    case SETTING_URL:
    case SETTING_ENUM:
        json_put_str(w, v->s);
        break;
    case SETTING_INT:
    case SETTING_LONG:
        json_put_i64(w, v->i);
        break;
    case SETTING_FLOAT:
        json_put_f64(w, v->d);
        break;
    case SETTING_BOOL:
        json_put_bool(w, v->b);
        break;
    case SETTING_STR_MAP:
    case SETTING_STR_LIST:
    case SETTING_PAIR_LIST:
    case SETTING_JSON:
        json_put_node(w, v->json);
        break;
    case SETTING_RATE_LIMIT:
        json_obj(w);
        json_key_i64(w, "requests_per_minute", v->i);
        json_end(w);
        break;
    case SETTING_ADAPTIVE:
        put_adaptive(w, &v->adaptive);
        break;
    }
}

void settings_render(struct json_out *w, const struct values *values, enum task task,
                     enum setting_place place, bool all, int64_t num_allocations_live)
{
    for (size_t i = 0; i < values->table->n; i++) {
        const struct setting *row = &values->table->rows[i];
        if (!shown(row, task, place, all))
            continue;
        bool live = num_allocations_live >= 0 && row->place == IN_SERVICE &&
                    strcmp(row->name, "num_allocations") == 0;
        if (live) {
            json_key_i64(w, row->name, num_allocations_live);
        } else if (values->v[i].set) {
            json_key(w, row->name);
            put_value(w, row, &values->v[i]);
        }
    }
}

bool settings_any(const struct values *values, enum task task, enum setting_place place)
{
    for (size_t i = 0; i < values->table->n; i++) {
        if (values->v[i].set && shown(&values->table->rows[i], task, place, false))
            return true;
    }
    return false;
}

void secrets_render(struct json_out *w, const struct values *values, enum task task)
{
    for (size_t i = 0; i < values->table->n; i++) {
        const struct setting *row = &values->table->rows[i];
        if (!values->v[i].set || !shown(row, task, IN_SECRET, true))
            continue;
        struct str bytes = secret_reveal(values->v[i].secret);
        if (row->type == SETTING_STR_MAP)
            json_key_raw(w, row->name, bytes);
        else
            json_key_str(w, row->name, bytes);
    }
}
