/* security_roles: roles, role mappings and privileges as resources. What they do is in
 * security/roles.c, role_mappings.c and applications.c. */
#include "security_api.h"

void put_role(struct request *r)
{
    security_work(r, role_put);
}

void get_role(struct request *r)
{
    security_work(r, role_get);
}

void delete_role(struct request *r)
{
    security_work(r, role_delete);
}

void post_roles(struct request *r)
{
    security_work(r, roles_put);
}

void delete_roles(struct request *r)
{
    security_work(r, roles_delete);
}

void query_role(struct request *r)
{
    security_work(r, role_query);
}

void get_privileges(struct request *r)
{
    security_work(r, privilege_builtin);
}

void put_application_privileges(struct request *r)
{
    security_work(r, application_privileges_put);
}

void get_application_privileges(struct request *r)
{
    security_work(r, application_privileges_get);
}

void delete_application_privileges(struct request *r)
{
    security_work(r, application_privileges_delete);
}

void get_own_privileges(struct request *r)
{
    security_work(r, user_privileges);
}

void put_role_mapping(struct request *r)
{
    security_work(r, role_mapping_put);
}

void get_role_mapping(struct request *r)
{
    security_work(r, role_mapping_get);
}

void delete_role_mapping(struct request *r)
{
    security_work(r, role_mapping_delete);
}
