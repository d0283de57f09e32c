/* Call bodies: anything that is JSON, read as every kind of call; what is read is touched. */
#include <stdlib.h>

#include "input.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static volatile size_t sum;

static void touch(struct str s)
{
    for (size_t i = 0; i < s.n; i++)
        sum += (unsigned char)s.p[i];
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct arena *a = arena_new(ARENA_NO_LIMIT);
    struct str text = str_n((const char *)data, n);
    const struct json *root;
    struct input in;
    struct chat chat;
    struct err *e = json_parse(a, text, &root);
    for (unsigned task = 0; !e && task < TASK_ANY; task++) {
        struct err *refused = input_parse(a, (enum task)task, n & 1, text, root, &in);
        for (size_t i = 0; !refused && i < in.n_texts; i++)
            touch(in.texts[i]);
        err_free(refused);
    }
    if (!e) {
        e = chat_parse(a, text, root, &chat);
        for (size_t i = 0; !e && i < chat.n_messages; i++) {
            touch(chat.messages[i].role);
            touch(chat.messages[i].content);
            for (size_t j = 0; j < chat.messages[i].n_parts; j++)
                touch(chat.messages[i].parts[j].text);
        }
    }
    err_free(e);
    arena_free(a);
    return 0;
}
