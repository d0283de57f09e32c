/* log: JSON lines on standard error.
 *
 *     log_info("endpoint created", LOG_S("inference_id", id), LOG_I("dimensions", 384));
 *
 * Levels: error: someone must act; warn: degraded and continuing; info: state changed; debug: for
 * reading a trace. An error is logged once, where it is answered or dropped. Never log inputs,
 * keys, model output or upstream bodies. Thread: any; a line is one write(2). */
#ifndef INFERD_LOG_H
#define INFERD_LOG_H

#include "err.h"
#include "str.h"

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };

struct log_field {
    const char *key;
    enum { LOG_T_NONE, LOG_T_STR, LOG_T_INT, LOG_T_NUM, LOG_T_BOOL, LOG_T_ERR } type;
    struct str s;
    int64_t i;
    double d;
    const struct err *e; /* prints type, reason and causes */
};

#define LOG_S(k, v) ((struct log_field){.key = (k), .type = LOG_T_STR, .s = (v)})
#define LOG_C(k, v) ((struct log_field){.key = (k), .type = LOG_T_STR, .s = str_c(v)})
#define LOG_I(k, v) ((struct log_field){.key = (k), .type = LOG_T_INT, .i = (int64_t)(v)})
#define LOG_D(k, v) ((struct log_field){.key = (k), .type = LOG_T_NUM, .d = (v)})
#define LOG_B(k, v) ((struct log_field){.key = (k), .type = LOG_T_BOOL, .i = (v)})
#define LOG_E(v)    ((struct log_field){.key = "error", .type = LOG_T_ERR, .e = (v)})

#define LOG_FIELDS_(...)                                                                           \
    (const struct log_field[]){{.type = LOG_T_NONE}, ##__VA_ARGS__},                               \
        sizeof((const struct log_field[]){{.type = LOG_T_NONE}, ##__VA_ARGS__}) /                  \
            sizeof(struct log_field)

#define log_error(msg, ...) log_write(LOG_ERROR, msg, LOG_FIELDS_(__VA_ARGS__))
#define log_warn(msg, ...)  log_write(LOG_WARN, msg, LOG_FIELDS_(__VA_ARGS__))
#define log_info(msg, ...)  log_write(LOG_INFO, msg, LOG_FIELDS_(__VA_ARGS__))
#define log_debug(msg, ...)                                                                        \
    do {                                                                                           \
        if (log_on(LOG_DEBUG))                                                                     \
            log_write(LOG_DEBUG, msg, LOG_FIELDS_(__VA_ARGS__));                                   \
    } while (0)

enum log_format { LOG_JSON, LOG_PLAIN };

bool log_on(enum log_level);
void log_set(enum log_level, enum log_format);
bool log_level_parse(struct str s, enum log_level *out);
void log_write(enum log_level, const char *msg, const struct log_field *fields, size_t n);

#endif
