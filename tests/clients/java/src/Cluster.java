import co.elastic.clients.elasticsearch.ElasticsearchClient;
import co.elastic.clients.elasticsearch._types.HealthStatus;
import co.elastic.clients.elasticsearch.license.LicenseStatus;

/** What clients ask of any cluster. */
class Cluster extends Story {
    static void steps() {
        steps.put("info", () -> {
            same(client.info().tagline(), "You Know, for Search");
            check(client.info().version().number().startsWith("9."), client.info());
            check(client.ping().value(), "no ping");
        });
        steps.put("health", () -> {
            var health = client.cluster().health(b -> b.waitForStatus(HealthStatus.Yellow));
            same(health.status(), HealthStatus.Green);
            same(health.numberOfNodes(), 1);
        });
        steps.put("license", () -> {
            same(client.license().get().license().status(), LicenseStatus.Active);
        });
        steps.put("xpackInfo", () -> {
            var features = client.xpack().info().features();
            check(features.ml().available() && features.security().enabled(), features);
            check(!features.sql().available(), "no SQL is here");
        });
        steps.put("xpackUsage", () -> {
            var usage = client.xpack().usage();
            check(usage.security().enabled() && usage.ml().available(), usage);
            check(!usage.watcher().available(), usage);
        });
        steps.put("nodes", () -> {
            var nodes = client.nodes().info().nodes();
            same(nodes.size(), 1);
            check(url.endsWith("://" + nodes.values().iterator().next().http().publishAddress()), nodes);
        });
        steps.put("credentials", () -> {
            try (ElasticsearchClient other = as("elastic", "wrong")) {
                fails(401, "security_exception", other::info);
            }
            try (ElasticsearchClient other = withKey("bm8ta2V5Om5vLXNlY3JldA==")) {
                fails(401, "security_exception", other::info);
            }
        });
        steps.put("asynchronous", () -> {
            var other = new co.elastic.clients.elasticsearch.ElasticsearchAsyncClient(client._transport());
            same(other.info().get().tagline(), "You Know, for Search");
        });
    }
}
