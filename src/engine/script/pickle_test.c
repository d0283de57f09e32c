#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "bug.h"
#include "map.h"
#include "pickle.h"

/* An archive of one storage, "data/0", of 24 bytes. */
struct world {
    struct arena *arena;
    struct archive archive;
    struct storage storage;
    char data[24];
};

static void world_init(struct world *w)
{
    *w = (struct world){.arena = arena_new(ARENA_NO_LIMIT)};
    w->archive = (struct archive){.file = "m.pt", .by_name = map_new()};
    w->storage = (struct storage){.name = STR("data/0"), .data = w->data, .size = 24};
    map_put(w->archive.by_name, w->storage.name, &w->storage);
}

static void world_deinit(struct world *w)
{
    map_free(w->archive.by_name);
    arena_free(w->arena);
}

static struct err *read(struct world *w, struct str bytes, struct pickle_value **out)
{
    return pickle_read(bytes, "data.pkl", "data/", &w->archive, w->arena, out);
}

static void expect_refused(struct str bytes, const char *reason)
{
    struct world w;
    struct pickle_value *v;
    world_init(&w);
    struct err *err = read(&w, bytes, &v);
    assert_non_null(err);
    assert_int_equal(err->kind, ERR_ARGUMENT);
    if (!strstr(err->reason, reason))
        fail_msg("[%s] is not in [%s]", reason, err->reason);
    err_free(err);
    world_deinit(&w);
}

#define INT(i) "K" i

static void reads_plain_values(void **state)
{
    struct world w;
    struct pickle_value *v;
    world_init(&w);
    assert_null(
        read(&w,
             STR("\x80\x02(K\x05M\x01\x02J\xff\xff\xff\xff\x8a\x00\x8a\x02\xff\x7f\x8a\x01\xfe"
                 "G\x3f\xf8\0\0\0\0\0\0NX\x02\0\0\0hi\x88\x89](K\x01K\x02"
                 "e}(X\x01\0\0\0kK\x07ut."),
             &v));
    assert_int_equal(v->kind, PICKLE_TUPLE);
    assert_int_equal(v->n, 13);
    const int64_t ints[] = {5, 513, -1, 0, 32767, -2};
    for (size_t i = 0; i < 6; i++)
        assert_int_equal(v->items[i]->i, ints[i]);
    assert_true(v->items[6]->f == 1.5);
    assert_int_equal(v->items[7]->kind, PICKLE_NONE);
    assert_true(str_eq(v->items[8]->s, STR("hi")));
    assert_true(v->items[9]->b);
    assert_false(v->items[10]->b);
    assert_int_equal(v->items[11]->kind, PICKLE_LIST);
    assert_int_equal(v->items[11]->n, 2);
    assert_int_equal(v->items[12]->kind, PICKLE_DICT);
    assert_int_equal(v->items[12]->items[1]->i, 7);
    world_deinit(&w);
}

/* A storage of "type" with this many elements, then a tensor of it. */
#define STORAGE(type, n)                                                                           \
    "((X\x07\0\0\0storagectorch\n" type "\nX\x01\0\0\0"                                            \
    "0X\x03\0\0\0cpu" INT(n) "tQ"
#define TENSOR(type, n, rest)                                                                      \
    "\x80\x02"                                                                                     \
    "ctorch._utils\n_rebuild_tensor_v2\n" STORAGE(type, n) rest "\x89"                             \
                                                                "ccollections\nOrderedDict\n)RtR."

static void reads_tensors(void **state)
{
    struct world w;
    struct pickle_value *v;
    world_init(&w);
    /* offset 1, size 2, 3, stride 1, 1: the last is element 1 + 1 + 2 */
    assert_null(
        read(&w,
             STR(TENSOR("FloatStorage", "\x06",
                        INT("\x01") INT("\x02") INT("\x03") "\x86" INT("\x01") INT("\x01") "\x86")),
             &v));
    assert_int_equal(v->kind, PICKLE_TENSOR);
    const struct script_tensor *t = v->tensor.view;
    assert_int_equal(t->dtype, DTYPE_F32);
    assert_int_equal(t->rank, 2);
    assert_int_equal(t->dim[1], 3);
    assert_int_equal(t->stride[0], 1);
    assert_ptr_equal(t->data, w.data + 4);
    assert_true(w.storage.used);
    world_deinit(&w);
}

static void refuses_tensors_past_their_storage(void **state)
{
    const char *past = "has a tensor that reaches past its storage";
    expect_refused(
        STR(TENSOR("FloatStorage", "\x06", INT("\x00") INT("\x07") "\x85" INT("\x01") "\x85")),
        past);
    expect_refused(
        STR(TENSOR("FloatStorage", "\x06", INT("\x06") INT("\x01") "\x85" INT("\x01") "\x85")),
        past);
    expect_refused(
        STR(TENSOR("FloatStorage", "\x06", INT("\x01") INT("\x06") "\x85" INT("\x01") "\x85")),
        past);
    expect_refused(
        STR(TENSOR("FloatStorage", "\x06", INT("\x00") INT("\x03") "\x85" INT("\x03") "\x85")),
        past);
    /* 2^62 strides of 4 wrap around to 0 */
    expect_refused(STR(TENSOR("FloatStorage", "\x06",
                              INT("\x00") INT("\x05") "\x85"
                                                      "\x8a\x08\0\0\0\0\0\0\0\x40"
                                                      "\x85")),
                   past);
    expect_refused(STR(TENSOR("FloatStorage", "\x06",
                              INT("\x00") "\x8a\x08\0\0\0\0\0\0\0\x01"
                                          "\x8a\x08\0\0\0\0\0\0\0\x01"
                                          "\x86" INT("\x00") INT("\x00") "\x86")),
                   "has a tensor of too many elements");
    expect_refused(
        STR(TENSOR("FloatStorage", "\x06", INT("\x07") INT("\x00") "\x85" INT("\x01") "\x85")),
        past);
}

static void refuses_damaged_tensors(void **state)
{
    expect_refused(
        STR(TENSOR("FloatStorage", "\x06", INT("\x00") "J\xff\xff\xff\xff\x85" INT("\x01") "\x85")),
        "has a tensor with a size or stride that is no count");
    expect_refused(STR(TENSOR("FloatStorage", "\x06",
                              INT("\x00") INT("\x02") "\x85"
                                                      "J\xff\xff\xff\xff\x85")),
                   "has a tensor with a size or stride that is no count");
    expect_refused(STR(TENSOR("FloatStorage", "\x06",
                              "J\xff\xff\xff\xff" INT("\x02") "\x85" INT("\x01") "\x85")),
                   "has a damaged tensor");
    expect_refused(STR(TENSOR("FloatStorage", "\x06",
                              INT("\x00") INT("\x02") "\x85"
                                                      ")")),
                   "has a tensor with damaged sizes");
    expect_refused(
        STR(TENSOR("FloatStorage", "\x05", INT("\x00") INT("\x01") "\x85" INT("\x01") "\x85")),
        "is not as long as its entry");
    expect_refused(
        STR(TENSOR("FloatStorage", "\x0c", INT("\x00") INT("\x01") "\x85" INT("\x01") "\x85")),
        "is not as long as its entry");
    expect_refused(
        STR(TENSOR("QInt8Storage", "\x18", INT("\x00") INT("\x01") "\x85" INT("\x01") "\x85")),
        "whose storage is of another kind");
    expect_refused(STR("\x80\x02"
                       "(X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\0"
                       "9X\x03\0\0\0"
                       "cpu" INT("\x06") "tQ."),
                   "has a storage without an entry");
    expect_refused(STR("\x80\x02"
                       "(X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\0"
                       "0X\x04\0\0\0"
                       "cuda" INT("\x06") "tQ."),
                   "has a storage that is not on the [cpu]");
    expect_refused(STR("\x80\x02"
                       "X\x01\0\0\0"
                       "0Q."),
                   "has a persistent id that is no storage");
}

/* What other readers of pickles would call. */
static void refuses_calls(void **state)
{
    expect_refused(STR("\x80\x02"
                       "cos\nsystem\nX\x07\0\0\0rm -rf /\x85R."),
                   "names the global [os.system], which is not one of a model's");
    expect_refused(STR("\x80\x02"
                       "cposix\nsystem\nX\x02\0\0\0ls\x85R."),
                   "[posix.system]");
    expect_refused(STR("\x80\x02"
                       "cbuiltins\neval\nX\x01\0\0\0"
                       "1\x85R."),
                   "[builtins.eval]");
    expect_refused(STR("\x80\x02"
                       "ctorch\nload\nX\x01\0\0\0"
                       "1\x85R."),
                   "[torch.load]");
    expect_refused(STR("\x80\x02"
                       "c__torch__\nM\n)R."),
                   "calls [__torch__.M]; a model calls nothing when read");
    expect_refused(STR("\x80\x02"
                       "ctorch\nFloatStorage\n)R."),
                   "a model calls nothing when read");
    expect_refused(STR("\x80\x02"
                       "(X\x02\0\0\0lsios\nsystem\n."),
                   "has an opcode that no model has");
    expect_refused(STR("\x80\x02"
                       "cos\nsystem\n(Uibi."),
                   "[os.system]");
    expect_refused(STR("\x80\x02"
                       "c__torch__\nM\nK\x01\x85\x81."),
                   "makes an object with arguments");
    expect_refused(STR("\x80\x02"
                       "ctorch\nFloatStorage\n)\x81."),
                   "makes an object of what is no class");
    expect_refused(STR("\x80\x02"
                       "]}b."),
                   "gives a state to what is no new object");
    expect_refused(STR("\x80\x04K\x01."), "has another protocol than 2");
    expect_refused(STR("\x80\x02"
                       "\x93."),
                   "has an opcode that no model has");
}

static void refuses_damaged_streams(void **state)
{
    expect_refused(STR(""), "is cut short");
    expect_refused(STR("\x80\x02"), "is cut short");
    expect_refused(STR("\x80\x02."), "takes from an empty stack");
    expect_refused(STR("\x80\x02K\x01K\x01."), "leaves values on the stack");
    expect_refused(STR("\x80\x02K\x01.K"), "goes on after its end");
    expect_refused(STR("\x80\x02t."), "has no mark");
    expect_refused(STR("\x80\x02("), "is cut short");
    expect_refused(STR("\x80\x02(\x85."), "takes from an empty stack");
    expect_refused(STR("\x80\x02h\x01."), "gets what was never put");
    expect_refused(STR("\x80\x02q\x01."), "takes from an empty stack");
    expect_refused(STR("\x80\x02Nr\xff\xff\xff\x7f."), "has too large a memo");
    expect_refused(STR("\x80\x02X\xff\xff\xff\xff"
                       "a."),
                   "is cut short");
    expect_refused(STR("\x80\x02\x8a\x09"
                       "123456789."),
                   "has an integer of more than 64 bits");
    expect_refused(STR("\x80\x02}(Nu."), "sets items of what is no dict");
    expect_refused(STR("\x80\x02}Na."), "appends to what is no list");
    expect_refused(STR("\x80\x02"
                       "cabc"),
                   "has a damaged name");
}

static void refuses_too_much(void **state)
{
    size_t n = 5 << 20;
    char *bytes = mem_new(n);
    memcpy(bytes, "\x80\x02", 2);
    memset(bytes + 2, '(', n - 2);
    expect_refused(str_n(bytes, n), "has too deep a stack");
    memset(bytes + 2, ']', n - 2);
    expect_refused(str_n(bytes, n), "has too deep a stack");
    bytes[2] = 'N';
    memset(bytes + 3, 0x85, n - 3); /* a tuple in a tuple in a tuple ... */
    expect_refused(str_n(bytes, n), "has too many values");
    free(bytes);
}

/* A list in itself is a value like any other here; who walks it looks out. */
static void reads_cycles(void **state)
{
    struct world w;
    struct pickle_value *v;
    world_init(&w);
    assert_null(read(&w, STR("\x80\x02]q\0h\0a."), &v));
    assert_ptr_equal(v->items[0], v);
    world_deinit(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_plain_values),
        cmocka_unit_test(reads_tensors),
        cmocka_unit_test(refuses_tensors_past_their_storage),
        cmocka_unit_test(refuses_damaged_tensors),
        cmocka_unit_test(refuses_calls),
        cmocka_unit_test(refuses_damaged_streams),
        cmocka_unit_test(refuses_too_much),
        cmocka_unit_test(reads_cycles),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
