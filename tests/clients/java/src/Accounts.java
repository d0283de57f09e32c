import co.elastic.clients.elasticsearch.ElasticsearchClient;
import co.elastic.clients.elasticsearch.security.*;
import co.elastic.clients.elasticsearch.security.grant_api_key.ApiKeyGrantType;
import co.elastic.clients.elasticsearch.security.put_privileges.Actions;
import java.util.List;
import java.util.Map;
import java.util.Set;

/** The rest of the security API: profiles, service accounts, application privileges, many at once. */
class Accounts extends Story {
    static ElasticsearchSecurityClient security() {
        return client.security();
    }

    static void steps() {
        steps.put("profiles", () -> {
            var mine = security().activateUserProfile(b -> b.grantType(GrantType.Password)
                .username("elastic").password(password));
            check(mine.enabled() && mine.user().username().equals("elastic"), mine);
            check(security().updateUserProfileData(b -> b.uid(mine.uid()).labels("team", json("\"a\""))
                .data("app", json("{\"x\":1}"))).acknowledged(), "no data");
            same(security().getUserProfile(b -> b.uid(mine.uid()).data("*")).profiles().size(), 1);
            same(security().suggestUserProfiles(b -> b.name("ela")).profiles().size(), 1);
            same(security().hasPrivilegesUserProfile(b -> b.uids(mine.uid())
                .privileges(p -> p.cluster(ClusterPrivilege.ManageInference))).hasPrivilegeUids(),
                List.of(mine.uid()));
            check(security().disableUserProfile(b -> b.uid(mine.uid())).acknowledged(), "disable");
            check(security().enableUserProfile(b -> b.uid(mine.uid())).acknowledged(), "enable");
        });
        steps.put("serviceAccounts", () -> {
            check(security().getServiceAccounts().serviceAccoutns().size() > 1, "few accounts");
            var made = security().createServiceToken(b -> b.namespace("elastic")
                .service("fleet-server").name("t1"));
            check(made.created(), made);
            try (ElasticsearchClient fleet = with(b -> b.token(made.token().value()))) {
                same(fleet.security().authenticate().username(), "elastic/fleet-server");
            }
            var credentials = security().getServiceCredentials(b -> b.namespace("elastic")
                .service("fleet-server"));
            same(credentials.count() + credentials.serviceAccount(), "1elastic/fleet-server");
            security().clearCachedServiceTokens(b -> b.namespace("elastic").service("fleet-server")
                .name("t1"));
            check(security().deleteServiceToken(b -> b.namespace("elastic").service("fleet-server")
                .name("t1")).found(), "no token");
        });
        steps.put("applicationPrivileges", () -> {
            var made = security().putPrivileges(b -> b.privileges("app", Map.of("read",
                Actions.of(a -> a.application("app").name("read").actions("data:read/*")))));
            check(made.result().get("app").get("read").created(), made);
            check(security().getPrivileges(b -> b.application("app")).privileges()
                .containsKey("app"), "no privileges");
            security().clearCachedPrivileges(b -> b.application("app"));
            check(security().deletePrivileges(b -> b.application("app").name("read")).result()
                .get("app").get("read").found(), "not deleted");
        });
        steps.put("manyRoles", () -> {
            var made = security().bulkPutRole(b -> b.roles("r1", r -> r.cluster("monitor"))
                .roles("r2", r -> r.cluster("monitor_inference").description("asks")));
            same(Set.copyOf(made.created()), Set.of("r1", "r2"));
            var found = security().queryRole(b -> b.size(2).query(q -> q.term(t -> t.field("name")
                .value("r2"))));
            same(found.roles().get(0).description(), "asks");
            security().clearCachedRoles(b -> b.name("r1"));
            same(security().bulkDeleteRole(b -> b.names("r1", "r2")).deleted().size(), 2);
        });
        steps.put("queryUsers", () -> {
            var found = security().queryUser(b -> b.size(10).withProfileUid(true));
            same(found.total(), found.users().size());
        });
        steps.put("grantAndChangeKeys", () -> {
            var key = security().grantApiKey(b -> b.grantType(ApiKeyGrantType.Password)
                .username("elastic").password(password).apiKey(k -> k.name("granted")
                    .expiration(t -> t.time("1d")).metadata("a", json("1"))));
            same(security().bulkUpdateApiKeys(b -> b.ids(key.id()).metadata("a", json("2")))
                .updated(), List.of(key.id()));
            security().clearApiKeyCache(b -> b.ids(key.id()));
            var cross = security().createCrossClusterApiKey(b -> b.name("cross").access(a -> a
                .search(s -> s.names("logs-*"))));
            var shown = security().getApiKey(b -> b.id(cross.id())).apiKeys().get(0);
            same(shown.type(), ApiKeyType.CrossCluster);
            same(security().invalidateApiKey(b -> b.ids(key.id(), cross.id())).invalidatedApiKeys()
                .size(), 2);
        });
        steps.put("settings", () -> {
            // An unknown user is an empty object with 404, here as in Elasticsearch.
            fails(404, null, () -> security().getUser(b -> b.username("nobody-of-this-name")));
            security().clearCachedRealms(b -> b.realms("native"));
            security().getSettings();
            security().getStats();
        });
    }
}
