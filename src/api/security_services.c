/* security_services: service accounts and their tokens as resources. What they do is in
 * security/service_tokens.c. */
#include "security_api.h"

void get_service_accounts(struct request *r)
{
    security_work(r, service_accounts_get);
}

void get_service_credentials(struct request *r)
{
    security_work(r, service_credentials_get);
}

void post_service_token(struct request *r)
{
    security_work(r, service_token_create);
}

void delete_service_token(struct request *r)
{
    security_work(r, service_token_delete);
}
