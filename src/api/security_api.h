/* security_api: handlers of the security API. All of them go the same way: off to the pool, where
 * the store may be waited for and passwords hashed, and back with an answer. */
#ifndef INFERD_SECURITY_API_H
#define INFERD_SECURITY_API_H

#include "request.h"

/* security_work.c: runs `op` on the pool and answers with what it wrote. */
void security_work(struct request *, security_op *op);
/* The same in the name of `user`, about `body`, which is a part of the request's. */
void security_work_as(struct request *, security_op *op, const struct user *user,
                      const struct json *body);

/* security_keys.c */
void post_api_key(struct request *);
void get_api_key(struct request *);
void delete_api_key(struct request *);
void put_api_key(struct request *);
void query_api_key(struct request *);
void update_api_keys(struct request *);
void post_cross_cluster_key(struct request *);
void put_cross_cluster_key(struct request *);

/* security_tokens.c */
void post_token(struct request *);
void delete_token(struct request *);
void grant_api_key(struct request *);
void activate_profile(struct request *);

/* security_services.c */
void get_service_accounts(struct request *);
void get_service_credentials(struct request *);
void post_service_token(struct request *);
void delete_service_token(struct request *);

/* security_profiles.c */
void get_profiles(struct request *);
void put_profile_data(struct request *);
void post_profile_enable(struct request *);
void post_profile_disable(struct request *);
void suggest_profiles(struct request *);
void post_profiles_have_privileges(struct request *);

/* security_realms.c */
void post_saml_prepare(struct request *);
void post_saml_authenticate(struct request *);
void post_saml_logout(struct request *);
void post_saml_invalidate(struct request *);
void post_saml_complete_logout(struct request *);
void get_saml_metadata(struct request *);
void post_oidc_prepare(struct request *);
void post_oidc_authenticate(struct request *);
void post_oidc_logout(struct request *);
void post_delegate_pki(struct request *);
void get_enroll(struct request *);
void get_index_settings(struct request *);
void put_index_settings(struct request *);
void get_security_stats(struct request *);

/* security_users.c */
void put_user(struct request *);
void get_user(struct request *);
void delete_user(struct request *);
void post_password(struct request *);
void post_enable(struct request *);
void post_disable(struct request *);
void query_user(struct request *);
void post_has_privileges(struct request *);
void post_clear_cache(struct request *);

/* security_roles.c */
void put_role(struct request *);
void get_role(struct request *);
void delete_role(struct request *);
void post_roles(struct request *);
void delete_roles(struct request *);
void query_role(struct request *);
void get_privileges(struct request *);
void put_application_privileges(struct request *);
void get_application_privileges(struct request *);
void delete_application_privileges(struct request *);
void get_own_privileges(struct request *);
void put_role_mapping(struct request *);
void get_role_mapping(struct request *);
void delete_role_mapping(struct request *);

/* security_routes.c */
void security_routes_add(struct router *);

#endif
