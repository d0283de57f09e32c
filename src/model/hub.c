#include "package_private.h"

bool is_hub_id(struct str id)
{
    (void)id;
    return false;
}

void hub_begin(struct job *j)
{
    job_end(j, NULL);
}
