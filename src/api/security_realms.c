/* security_realms: what there is to say about realms, indices and statistics of a cluster. What the
 * calls do is in security/realms.c and index_settings.c. */
#include "reply.h"
#include "security_api.h"

void post_saml_prepare(struct request *r)
{
    security_work(r, saml_prepare);
}

void post_saml_authenticate(struct request *r)
{
    security_work(r, saml_authenticate);
}

void post_saml_logout(struct request *r)
{
    security_work(r, saml_logout);
}

void post_saml_invalidate(struct request *r)
{
    security_work(r, saml_invalidate);
}

void post_saml_complete_logout(struct request *r)
{
    security_work(r, saml_complete_logout);
}

void get_saml_metadata(struct request *r)
{
    security_work(r, saml_metadata);
}

void post_oidc_prepare(struct request *r)
{
    security_work(r, oidc_prepare);
}

void post_oidc_authenticate(struct request *r)
{
    security_work(r, oidc_authenticate);
}

void post_oidc_logout(struct request *r)
{
    security_work(r, oidc_logout);
}

void post_delegate_pki(struct request *r)
{
    security_work(r, delegate_pki);
}

void get_enroll(struct request *r)
{
    security_work(r, enroll);
}

void get_index_settings(struct request *r)
{
    security_work(r, index_settings_get);
}

void put_index_settings(struct request *r)
{
    security_work(r, index_settings_put);
}

/* Nothing here reads documents by their roles, so its cache is empty. */
void get_security_stats(struct request *r)
{
    const struct api_options *o = &r->api->options;
    struct buf b;
    struct json_out w;
    reply_buf_init(&b);
    json_out_init(&w, &b);
    json_obj(&w);
    reply_nodes(&w, o);
    json_key_raw(&w, o->node_id,
                 STR("{\"roles\":{\"dls\":{\"bit_set_cache\":{\"count\":0,\"memory\":\"0b\","
                     "\"memory_in_bytes\":0,\"hits\":0,\"misses\":0,\"evictions\":0,"
                     "\"hits_time_in_millis\":0,\"misses_time_in_millis\":0}}}}"));
    json_end(&w);
    json_end(&w);
    reply_json(r, 200, &b);
}
