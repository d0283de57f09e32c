/* security_profiles: user profiles as resources. What they do is in security/profiles.c and
 * suggest.c; how they are activated begins in security_tokens.c. */
#include "security_api.h"

void get_profiles(struct request *r)
{
    security_work(r, profiles_get);
}

void put_profile_data(struct request *r)
{
    security_work(r, profile_update);
}

void post_profile_enable(struct request *r)
{
    security_work(r, profile_enable);
}

void post_profile_disable(struct request *r)
{
    security_work(r, profile_disable);
}

void suggest_profiles(struct request *r)
{
    security_work(r, profiles_suggest);
}

void post_profiles_have_privileges(struct request *r)
{
    security_work(r, profiles_have_privileges);
}
