/* GET _services: its shape (inference.md 2.8), and which settings each service shows (the cfg
 * columns of inference.md 5). */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>

#include "provider.h"

struct fixture {
    struct arena *arena;
    const struct json *list;
};

static void render(struct fixture *f, enum task task)
{
    struct buf b;
    struct json_out w;
    f->arena = arena_new(ARENA_NO_LIMIT);
    buf_init(&b, 1 << 20);
    json_out_init(&w, &b);
    providers_render(&w, task, false);
    assert_null(json_parse_copy(f->arena, buf_str(&b), &f->list));
    assert_true(json_is(f->list, JSON_ARRAY));
    buf_deinit(&b);
}

static const struct json *service(const struct fixture *f, const char *name)
{
    struct json_iter it = json_iter(f->list);
    for (const struct json *v; (v = json_next(&it));) {
        if (str_eq_c(json_get(v, "service")->text, name))
            return v;
    }
    return NULL;
}

/* "a,b,c": member names of an object, or the texts of an array. */
static void expect_names(const struct json *node, const char *want)
{
    char got[512] = "";
    size_t n = 0;
    struct json_iter it = json_iter(node);
    for (const struct json *v; (v = json_next(&it));)
        n += (size_t)snprintf(got + n, sizeof got - n, "%s%.*s", n ? "," : "",
                              STR_ARG(node->type == JSON_OBJECT ? v->key : v->text));
    assert_string_equal(got, want);
}

/* One line per service: the cfg column of inference.md 5. */
static const struct listing {
    const char *service, *name, *tasks, *settings;
} listings[] = {
    {"ai21", "AI21", "completion,chat_completion",
     "api_key,model_id,rate_limit.requests_per_minute"},
    {"alibabacloud-ai-search", "AlibabaCloud AI Search",
     "text_embedding,sparse_embedding,rerank,completion",
     "api_key,service_id,host,workspace,http_schema,rate_limit.requests_per_minute"},
    {"amazon_sagemaker", "Amazon SageMaker",
     "text_embedding,sparse_embedding,rerank,completion,chat_completion",
     "access_key,secret_key,endpoint_name,region,api,target_model,target_container_hostname,"
     "inference_component_name,batch_size,custom_attributes,enable_explanations,inference_id,"
     "session_id,target_variant"},
    {"amazonbedrock", "Amazon Bedrock", "text_embedding,completion,chat_completion",
     "access_key,secret_key,region,model,provider,rate_limit.requests_per_minute"},
    {"anthropic", "Anthropic", "completion,chat_completion",
     "api_key,model_id,rate_limit.requests_per_minute"},
    {"azureaistudio", "Azure AI Studio", "text_embedding,rerank,completion,chat_completion",
     "api_key,target,provider,endpoint_type,rate_limit.requests_per_minute"},
    {"azureopenai", "Azure OpenAI", "text_embedding,completion,chat_completion",
     "api_key,entra_id,resource_name,api_version,deployment_id,rate_limit.requests_per_minute"},
    {"cohere", "Cohere", "text_embedding,rerank,completion,chat_completion",
     "api_key,model_id,rate_limit.requests_per_minute"},
    {"contextualai", "Contextual AI", "rerank", "api_key,model_id,rate_limit.requests_per_minute"},
    {"deepseek", "DeepSeek", "completion,chat_completion", "api_key,model_id,url"},
    {"elasticsearch", "Elasticsearch", "text_embedding,sparse_embedding,rerank",
     "num_allocations,num_threads,model_id"},
    {"fireworksai", "FireworksAI", "text_embedding,completion,chat_completion",
     "api_key,model_id,rate_limit.requests_per_minute"},
    {"googleaistudio", "Google AI Studio", "text_embedding,completion",
     "api_key,model_id,rate_limit.requests_per_minute"},
    {"googlevertexai", "Google Vertex AI", "text_embedding,rerank,completion,chat_completion",
     "service_account_json,location,project_id,model_id,rate_limit.requests_per_minute"},
    {"groq", "Groq", "completion,chat_completion",
     "api_key,model_id,rate_limit.requests_per_minute"},
    {"hugging_face", "Hugging Face",
     "text_embedding,sparse_embedding,rerank,completion,chat_completion",
     "api_key,url,rate_limit.requests_per_minute"},
    {"jinaai", "Jina AI", "text_embedding,rerank",
     "api_key,model_id,rate_limit.requests_per_minute,dimensions"},
    {"llama", "Llama", "text_embedding,completion,chat_completion",
     "api_key,url,model_id,rate_limit.requests_per_minute"},
    {"mistral", "Mistral", "text_embedding,completion,chat_completion",
     "api_key,model,max_input_tokens,rate_limit.requests_per_minute"},
    {"mixedbread", "Mixedbread", "text_embedding,rerank",
     "api_key,model_id,rate_limit.requests_per_minute"},
    {"nvidia", "Nvidia", "text_embedding,rerank,completion,chat_completion",
     "api_key,url,model_id,rate_limit.requests_per_minute"},
    {"openai", "OpenAI", "text_embedding,completion,chat_completion",
     "api_key,model_id,url,organization_id,rate_limit.requests_per_minute"},
    {"openshift_ai", "OpenShift AI", "text_embedding,rerank,completion,chat_completion",
     "api_key,url,model_id,rate_limit.requests_per_minute"},
    {"voyageai", "Voyage AI", "text_embedding,rerank",
     "api_key,model_id,rate_limit.requests_per_minute"},
    {"watsonxai", "IBM Watsonx", "text_embedding,rerank,completion,chat_completion",
     "api_key,url,api_version,model_id,project_id,max_input_tokens"},
};

static bool lists_task(const struct listing *w, const char *task)
{
    struct str rest = str_c(w->tasks), one;
    while (str_split(&rest, ',', &one)) {
        if (str_eq_c(one, task))
            return true;
    }
    return false;
}

/* The services that have the task, in the order of the table above, and no others. */
static void expect_services(enum task task)
{
    struct fixture f;
    render(&f, task);
    struct json_iter it = json_iter(f.list);
    for (size_t i = 0; i < sizeof listings / sizeof listings[0]; i++) {
        if (task != TASK_ANY && !lists_task(&listings[i], task_name(task)))
            continue;
        const struct json *v = json_next(&it);
        assert_non_null(v);
        assert_string_equal(arena_cstr(f.arena, json_get(v, "service")->text), listings[i].service);
    }
    assert_null(json_next(&it));
    arena_free(f.arena);
}

static void sorted_and_filtered(void **state)
{
    static const enum task tasks[] = {TASK_ANY,    TASK_TEXT_EMBEDDING, TASK_SPARSE_EMBEDDING,
                                      TASK_RERANK, TASK_COMPLETION,     TASK_CHAT_COMPLETION};
    for (size_t i = 0; i < sizeof tasks / sizeof tasks[0]; i++)
        expect_services(tasks[i]);
}

/* The service's own, then the common ones that its tasks have a use for. */
static void expect_settings(const struct json *s, const char *own)
{
    char want[512];
    struct str tasks = json_raw(json_get(s, "task_types"));
    bool same_answer =
        str_find(tasks, STR("embedding")) != SIZE_MAX || str_find(tasks, STR("rerank")) != SIZE_MAX;
    bool whole = same_answer || str_find(tasks, STR("\"completion\"")) != SIZE_MAX;
    bool local = str_eq_c(json_get(s, "service")->text, "elasticsearch");
    snprintf(want, sizeof want, "%s,fallback%s%s,timeouts,egress,egress_client_key", own,
             same_answer ? ",cache" : "", whole && !local ? ",hedge" : "");
    expect_names(json_get(s, "configurations"), want);
}

static void names_tasks_and_settings(void **state)
{
    struct fixture f;
    render(&f, TASK_ANY);
    for (size_t i = 0; i < sizeof listings / sizeof listings[0]; i++) {
        const struct json *s = service(&f, listings[i].service);
        assert_non_null(s);
        expect_names(s, "service,name,task_types,configurations");
        assert_true(str_eq_c(json_get(s, "name")->text, listings[i].name));
        expect_names(json_get(s, "task_types"), listings[i].tasks);
        expect_settings(s, listings[i].settings);
    }
    arena_free(f.arena);
}

static void expect_setting(const struct fixture *f, const char *of, const char *name,
                           const char *want)
{
    const struct json *s = json_path(service(f, of), "configurations", name, NULL);
    assert_non_null(s);
    bool required, sensitive, updatable;
    assert_true(json_bool(json_get(s, "required"), &required));
    assert_true(json_bool(json_get(s, "sensitive"), &sensitive));
    assert_true(json_bool(json_get(s, "updatable"), &updatable));
    char got[128];
    snprintf(got, sizeof got, "%.*s%s%s%s default %.*s", STR_ARG(json_get(s, "type")->text),
             required ? " required" : "", sensitive ? " sensitive" : "",
             updatable ? " updatable" : "", STR_ARG(json_raw(json_get(s, "default_value"))));
    assert_string_equal(got, want);
}

static void members_of_a_setting(void **state)
{
    struct fixture f;
    render(&f, TASK_ANY);
    expect_setting(&f, "openai", "api_key", "str required sensitive updatable default ");
    expect_setting(&f, "openai", "model_id", "str required default ");
    expect_setting(&f, "openai", "url", "str default ");
    expect_setting(&f, "openai", "organization_id", "str default ");
    expect_setting(&f, "openai", "rate_limit.requests_per_minute", "int default ");
    expect_setting(&f, "cohere", "model_id", "str required default ");
    expect_setting(&f, "hugging_face", "url", "str required default ");
    expect_setting(&f, "elasticsearch", "model_id", "str required default ");
    expect_setting(&f, "elasticsearch", "num_threads", "int required default 2");
    expect_setting(&f, "elasticsearch", "num_allocations", "int required updatable default 1");

    const struct json *all = json_get(service(&f, "hugging_face"), "configurations");
    expect_names(json_get(all, "api_key"), "description,label,required,sensitive,updatable,type,"
                                           "supported_task_types");
    expect_names(json_path(all, "url", "supported_task_types", NULL),
                 "text_embedding,sparse_embedding,rerank,completion,chat_completion");
    expect_names(json_path(service(&f, "elasticsearch"), "configurations", "num_threads", NULL),
                 "default_value,description,label,required,sensitive,updatable,type,"
                 "supported_task_types");
    arena_free(f.arena);
}

/* The form in Kibana shows both. */
static void every_setting_is_described(void **state)
{
    struct fixture f;
    render(&f, TASK_ANY);
    struct json_iter services = json_iter(f.list);
    for (const struct json *s; (s = json_next(&services));) {
        struct json_iter it = json_iter(json_get(s, "configurations"));
        for (const struct json *v; (v = json_next(&it));) {
            assert_int_not_equal(json_get(v, "label")->text.n, 0);
            assert_int_not_equal(json_get(v, "description")->text.n, 0);
        }
    }
    arena_free(f.arena);
}

static void table_is_sorted_and_found(void **state)
{
    for (size_t i = 0; i < n_providers; i++) {
        assert_ptr_equal(provider_find(str_c(providers[i]->name)), providers[i]);
        if (i)
            assert_true(strcmp(providers[i - 1]->name, providers[i]->name) < 0);
    }
    assert_null(provider_find(STR("Openai")));
    assert_null(provider_find(STR("")));
    assert_null(provider_task(provider_find(STR("cohere")), TASK_SPARSE_EMBEDDING));
}

/* What inference counts on without looking. */
static void records_are_complete(void **state)
{
    for (size_t i = 0; i < n_providers; i++) {
        const struct provider *p = providers[i];
        assert_int_not_equal(p->n_tasks, 0);
        assert_string_equal(p->settings->service, p->name);
        assert_true(p->local || p->judge);
        for (size_t t = 0; t < p->n_tasks; t++) {
            const struct provider_task *task = &p->tasks[t];
            assert_non_null(task->request_name);
            if (p->local)
                continue;
            assert_non_null(task->build);
            assert_non_null(task->parse);
            assert_true((task->default_rpm > 0) == (settings_find(p->settings, "rate_limit") >= 0));
            assert_true((task->framing != FRAMING_NONE) == (task->on_event != NULL));
        }
        for (const char *const *name = p->group_by; name && *name; name++)
            assert_true(settings_find(p->settings, *name) >= 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sorted_and_filtered),       cmocka_unit_test(names_tasks_and_settings),
        cmocka_unit_test(members_of_a_setting),      cmocka_unit_test(every_setting_is_described),
        cmocka_unit_test(table_is_sorted_and_found), cmocka_unit_test(records_are_complete),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
