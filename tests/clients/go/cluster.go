package main

import (
	"io"
	"strings"

	"github.com/elastic/go-elasticsearch/v9"
	"github.com/elastic/go-elasticsearch/v9/typedapi/types/enums/healthstatus"
)

var clusterSteps = []step{
	{"info", func() {
		answer := must(typed.Info().Do(ctx))
		same(answer.Tagline, "You Know, for Search")
		check(strings.HasPrefix(answer.Version.Int, "9."), "%v", answer.Version)
		check(must(typed.Ping().Do(ctx)), "no ping")
	}},
	{"health", func() {
		answer := must(typed.Cluster.Health().WaitForStatus(healthstatus.Yellow).Timeout("5s").Do(ctx))
		same(answer.Status, healthstatus.Green)
		same(answer.NumberOfNodes, 1)
		same(float64(answer.ActiveShardsPercentAsNumber), 100.0)
	}},
	{"license", func() {
		same(must(typed.License.Get().Do(ctx)).License.Status.String(), "active")
	}},
	{"xpack", func() {
		features := must(typed.Xpack.Info().Do(ctx)).Features
		check(features.Ml.Available && features.Security.Enabled, "%#v", features)
		check(!features.Sql.Available, "no SQL is here")
		usage := must(typed.Xpack.Usage().Do(ctx))
		check(usage.Security.Enabled && usage.Ml.Available && !usage.Watcher.Available, "%#v", usage)
	}},
	{"nodes", func() {
		nodes := must(typed.Nodes.Info().Do(ctx)).Nodes
		same(len(nodes), 1)
		for _, node := range nodes {
			check(strings.HasSuffix(url, "://"+node.Http.PublishAddress), "%s", node.Http.PublishAddress)
		}
	}},
	{"sniffing", func() {
		sniffer := config()
		sniffer.DiscoverNodesOnStart = true
		client := must(elasticsearch.NewTypedClient(sniffer))
		check(client.DiscoverNodes() == nil, "no nodes were found")
		must(client.Info().Do(ctx))
	}},
	{"credentials", func() {
		other := config()
		other.Password = "wrong"
		_, err := must(elasticsearch.NewTypedClient(other)).Info().Do(ctx)
		fails(err, 401, "security_exception")
		_, err = withKey("bm8ta2V5Om5vLXNlY3JldA==").Info().Do(ctx)
		fails(err, 401, "security_exception")
	}},
	{"lowLevel", func() {
		answer := must(low.Info(low.Info.WithFilterPath("version.number"),
			low.Info.WithOpaqueID("go")))
		defer answer.Body.Close()
		check(!answer.IsError(), "%v", answer)
		text := string(must(io.ReadAll(answer.Body)))
		check(strings.HasPrefix(text, `{"version":{"number":"9.`), "%q", text)
		same(answer.Header.Get("X-Opaque-Id"), "go")
	}},
}
