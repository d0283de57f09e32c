package main

import (
	"slices"

	"github.com/elastic/go-elasticsearch/v9"
	"github.com/elastic/go-elasticsearch/v9/typedapi/security/createapikey"
	"github.com/elastic/go-elasticsearch/v9/typedapi/security/gettoken"
	"github.com/elastic/go-elasticsearch/v9/typedapi/security/updateapikey"
	"github.com/elastic/go-elasticsearch/v9/typedapi/types"
	"github.com/elastic/go-elasticsearch/v9/typedapi/types/enums/accesstokengranttype"
	"github.com/elastic/go-elasticsearch/v9/typedapi/types/enums/clusterprivilege"
)

// makeKey makes an API key that may ask, within the limits given.
func makeKey(limits object) *createapikey.Response {
	role := types.RoleDescriptor{Cluster: []clusterprivilege.ClusterPrivilege{
		clusterprivilege.Monitorinference}}
	if limits != nil {
		role.Metadata = types.Metadata{"inferd": raw(object{"limits": limits})}
	}
	return must(typed.Security.CreateApiKey().Request(&createapikey.Request{Name: pointer("go"),
		Expiration: "1h", RoleDescriptors: map[string]types.RoleDescriptor{"r": role},
		Metadata: types.Metadata{"team": raw("a")}}).Do(ctx))
}

var securitySteps = []step{
	{"authenticate", func() {
		me := must(typed.Security.Authenticate().Do(ctx))
		same(me.Username, "elastic")
		check(slices.Contains(me.Roles, "superuser") && me.Enabled, "%#v", me)
	}},
	{"users", func() {
		made := must(typed.Security.PutRole("asker").Cluster(clusterprivilege.Monitorinference).Do(ctx))
		check(made.Role.Created, "no role")
		check(must(typed.Security.PutUser("go-user").Password("pw-S3CRET-user").Roles("asker").
			FullName("Go").Do(ctx)).Created, "no user")
		same(*must(typed.Security.GetUser().Username("go-user").Do(ctx))["go-user"].FullName, "Go")
		same(must(typed.Security.GetRole().Name("asker").Do(ctx))["asker"].Cluster,
			[]clusterprivilege.ClusterPrivilege{clusterprivilege.Monitorinference})
		as := nobody()
		as.Username, as.Password = "go-user", "pw-S3CRET-user"
		user := must(elasticsearch.NewTypedClient(as))
		must(user.Inference.Get().Do(ctx))
		_, err := user.Inference.Delete("o-chat").Do(ctx)
		fails(err, 403, "security_exception")
		has := must(user.Security.HasPrivileges().Cluster(clusterprivilege.Monitorinference,
			clusterprivilege.Manageinference).Do(ctx))
		same(has.Cluster, map[string]bool{"monitor_inference": true, "manage_inference": false})
		must(typed.Security.ChangePassword().Username("go-user").Password("pw-S3CRET-other").Do(ctx))
		_, err = user.Inference.Get().Do(ctx)
		fails(err, 401, "security_exception")
	}},
	{"tokens", func() {
		token := must(typed.Security.GetToken().Request(&gettoken.Request{
			GrantType: &accesstokengranttype.Password, Username: pointer("go-user"),
			Password: pointer("pw-S3CRET-other")}).Do(ctx))
		same(token.Authentication.Username, "go-user")
		as := nobody()
		as.ServiceToken = token.AccessToken
		bearer := must(elasticsearch.NewTypedClient(as))
		same(must(bearer.Security.Authenticate().Do(ctx)).Username, "go-user")
		same(must(typed.Security.InvalidateToken().Username("go-user").Do(ctx)).ErrorCount, int64(0))
	}},
	{"apiKeys", func() {
		key := makeKey(nil)
		mine := withKey(key.Encoded)
		same(must(mine.Security.Authenticate().Do(ctx)).AuthenticationType, "api_key")
		must(mine.Inference.Inference("o-chat").Input("hi").Do(ctx))
		_, err := mine.Inference.Delete("o-chat").Do(ctx)
		fails(err, 403, "security_exception")
		shown := must(typed.Security.GetApiKey().Id(key.Id).WithLimitedBy(true).Do(ctx)).ApiKeys
		same([]any{len(shown), shown[0].Name, shown[0].Username, shown[0].Invalidated},
			[]any{1, "go", "elastic", false})
		check(len(shown[0].LimitedBy) == 1 && len(shown[0].RoleDescriptors) == 1, "%#v", shown[0])
		check(must(typed.Security.UpdateApiKey(key.Id).Request(&updateapikey.Request{
			Metadata: types.Metadata{"team": raw("b")}}).Do(ctx)).Updated, "not updated")
		found := must(typed.Security.QueryApiKeys().Size(1000).Do(ctx))
		check(found.Total >= 1 && len(found.ApiKeys) == found.Count, "%#v", found)
		ended := must(typed.Security.InvalidateApiKey().Ids(key.Id).Do(ctx))
		same(ended.InvalidatedApiKeys, []string{key.Id})
		_, err = mine.Inference.Get().Do(ctx)
		fails(err, 401, "security_exception")
	}},
	{"tooManyRequests", func() {
		mine := withKey(makeKey(object{"requests_per_minute": 1}).Encoded)
		must(mine.Inference.Inference("o-chat").Input("hi").Do(ctx))
		_, err := mine.Inference.Inference("o-chat").Input("hi").Do(ctx)
		fails(err, 429, "es_rejected_execution_exception")
	}},
	{"deleteUser", func() {
		check(must(typed.Security.DeleteUser("go-user").Do(ctx)).Found, "no user")
		check(must(typed.Security.DeleteRole("asker").Do(ctx)).Found, "no role")
	}},
}
