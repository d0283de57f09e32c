import co.elastic.clients.elasticsearch.ElasticsearchClient;
import co.elastic.clients.elasticsearch._types.FieldValue;
import co.elastic.clients.elasticsearch.security.*;
import co.elastic.clients.elasticsearch.security.get_token.AccessTokenGrantType;
import co.elastic.clients.util.NamedValue;
import java.io.IOException;
import java.util.List;
import java.util.Map;

/** Users, roles, tokens, API keys, and what they may not do. */
class Security extends Story {
    static ElasticsearchSecurityClient security() {
        return client.security();
    }

    static CreateApiKeyResponse makeKey(String metadata) throws IOException {
        return security().createApiKey(b -> b.name("java").expiration(t -> t.time("1h"))
            .metadata("team", json("\"a\""))
            .roleDescriptors("r", d -> {
                d.cluster(ClusterPrivilege.MonitorInference);
                return metadata == null ? d : d.metadata("inferd", json(metadata));
            }));
    }

    static void steps() {
        steps.put("authenticate", () -> {
            var me = security().authenticate();
            same(me.username(), "elastic");
            check(me.roles().contains("superuser") && me.enabled(), me);
        });
        steps.put("users", () -> {
            check(security().putRole(b -> b.name("asker").cluster(ClusterPrivilege.MonitorInference))
                .role().created(), "no role");
            check(security().putUser(b -> b.username("java-user").password("pw-S3CRET-user")
                .roles("asker").fullName("Java")).created(), "no user");
            same(security().getUser(b -> b.username("java-user")).get("java-user").fullName(), "Java");
            same(security().getRole(b -> b.name("asker")).get("asker").cluster(),
                List.of("monitor_inference"));
            check(security().getRole().roles().size() > 1, "no built-in roles");
            try (ElasticsearchClient user = as("java-user", "pw-S3CRET-user")) {
                user.inference().get();
                fails(403, "security_exception",
                    () -> user.inference().delete(b -> b.inferenceId("o-completion")));
                same(user.security().hasPrivileges(b -> b.cluster(ClusterPrivilege.MonitorInference,
                    ClusterPrivilege.ManageInference)).cluster(),
                    Map.of("monitor_inference", true, "manage_inference", false));
                user.security().getUserPrivileges();
                security().changePassword(b -> b.username("java-user").password("pw-S3CRET-other"));
                fails(401, "security_exception", () -> user.inference().get());
            }
        });
        steps.put("tokens", () -> {
            var token = security().getToken(b -> b.grantType(AccessTokenGrantType.Password)
                .username("java-user").password("pw-S3CRET-other"));
            same(token.authentication().username(), "java-user");
            try (ElasticsearchClient bearer = with(b -> b.token(token.accessToken()))) {
                same(bearer.security().authenticate().username(), "java-user");
            }
            same(security().invalidateToken(b -> b.username("java-user")).errorCount(), 0L);
        });
        steps.put("apiKeys", () -> {
            var key = makeKey(null);
            try (ElasticsearchClient mine = withKey(key.encoded())) {
                same(mine.security().authenticate().authenticationType(), "api_key");
                mine.inference().completion(b -> b.inferenceId("o-completion").input("hi"));
                fails(403, "security_exception",
                    () -> mine.inference().delete(b -> b.inferenceId("o-completion")));
                var shown = security().getApiKey(b -> b.id(key.id()).withLimitedBy(true)).apiKeys();
                same(shown.get(0).name() + shown.get(0).username(), "javaelastic");
                same(shown.get(0).limitedBy().size() + shown.get(0).roleDescriptors().size(), 2);
                check(security().updateApiKey(b -> b.id(key.id()).metadata("team", json("\"b\"")))
                    .updated(), "not updated");
                var found = security().queryApiKeys(b -> b.size(1000)
                    .query(q -> q.term(t -> t.field("name").value("java"))));
                check(found.total() >= 1 && found.count() == found.apiKeys().size(), found);
                same(security().invalidateApiKey(b -> b.ids(key.id())).invalidatedApiKeys(),
                    List.of(key.id()));
                fails(401, "security_exception", () -> mine.inference().get());
            }
        });
        steps.put("tooManyRequests", () -> {
            var key = makeKey("{\"limits\":{\"requests_per_minute\":1}}");
            try (ElasticsearchClient mine = withKey(key.encoded())) {
                mine.inference().completion(b -> b.inferenceId("o-completion").input("hi"));
                fails(429, "es_rejected_execution_exception",
                    () -> mine.inference().completion(b -> b.inferenceId("o-completion").input("hi")));
            }
        });
        steps.put("roleMappings", () -> {
            check(security().putRoleMapping(b -> b.name("java").enabled(true).roles("asker")
                .rules(r -> r.field(NamedValue.of("username", List.of(FieldValue.of("x"))))))
                .roleMapping().created(), "no mapping");
            same(security().getRoleMapping(b -> b.name("java")).roleMappings().size(), 1);
            check(security().deleteRoleMapping(b -> b.name("java")).found(), "no mapping");
        });
        steps.put("builtinPrivileges", () -> {
            check(security().getBuiltinPrivileges().cluster().size() > 10, "few privileges");
        });
        steps.put("deleteUser", () -> {
            check(security().deleteUser(b -> b.username("java-user")).found(), "no user");
            check(security().deleteRole(b -> b.name("asker")).found(), "no role");
        });
    }
}
