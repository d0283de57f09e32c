/* Looking rows and values up, and how GET _services names them. Reading is settings_parse.c,
 * printing settings_render.c. */
#include "settings.h"

const char *const similarity_choices[] = {"cosine", "dot_product", "l2_norm", NULL};

int settings_find(const struct settings_table *table, const char *name)
{
    for (size_t i = 0; i < table->n; i++) {
        if (strcmp(table->rows[i].name, name) == 0)
            return (int)i;
    }
    return -1;
}

const struct value *settings_get(const struct values *values, const char *name)
{
    const struct value *found = NULL;
    for (size_t i = 0; i < values->table->n; i++) {
        const char *row = values->table->rows[i].name;
        if (row[0] != name[0] || strcmp(row, name) != 0) /* most differ at once */
            continue;
        if (values->v[i].set)
            return &values->v[i];
        if (!found)
            found = &values->v[i];
    }
    return found;
}

const char *setting_ui_name(const struct setting *row)
{
    if (row->ui_name)
        return row->ui_name;
    return row->type == SETTING_RATE_LIMIT ? "rate_limit.requests_per_minute" : row->name;
}

const char *setting_ui_type(const struct setting *row)
{
    if (row->ui_type)
        return row->ui_type;
    switch (row->type) {
    case SETTING_INT:
    case SETTING_LONG:
    case SETTING_FLOAT:
    case SETTING_RATE_LIMIT:
        return "int";
    case SETTING_BOOL:
        return "bool";
    case SETTING_STR_LIST:
    case SETTING_PAIR_LIST:
        return "list";
    case SETTING_STR_MAP:
    case SETTING_JSON:
    case SETTING_ADAPTIVE:
        return "map";
    case SETTING_STR:
    case SETTING_URL:
    case SETTING_ENUM:
        break;
    }
    return "str";
}

bool setting_ui_required(const struct setting *row)
{
    return row->ui_required != 0 || (row->flags & SETTING_REQUIRED);
}

bool setting_ui_updatable(const struct setting *row)
{
    return (row->flags & SETTING_UPDATABLE) && !(row->flags & SETTING_UI_FIXED);
}
