import co.elastic.clients.elasticsearch.ElasticsearchClient;
import co.elastic.clients.elasticsearch._types.ElasticsearchException;
import co.elastic.clients.json.JsonData;
import co.elastic.clients.transport.ElasticsearchTransportConfig;
import co.elastic.clients.transport.TransportUtils;
import java.io.File;
import java.io.IOException;
import java.io.PrintWriter;
import java.io.StringWriter;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Objects;
import java.util.function.UnaryOperator;
import javax.net.ssl.SSLContext;

/**
 * Drives a server with the official Java client; run by ../run.py.
 *
 * <pre>java Story URL PASSWORD MODEL [CA]    one JSON line per step: {"step", "ok", "why"}</pre>
 *
 * MODEL is a folder of tests/fixtures/models/eland_tiny that classifies texts, CA a PEM file of who
 * signed the server's certificate. This client refuses an
 * answer that lacks a member its description requires, which makes it the strictest of all.
 */
class Story {
    interface Step {
        void run() throws Exception;
    }

    interface Ask {
        Object ask() throws IOException;
    }

    static final String SECRET = "sk-S3CRET-java";
    static String url, password, model;
    static SSLContext authority;
    static ElasticsearchClient client;
    static final Map<String, Step> steps = new LinkedHashMap<>();

    static void same(Object got, Object want) {
        if (!Objects.equals(got, want)) throw new AssertionError("got " + got + ", not " + want);
    }

    static void check(boolean ok, Object why) {
        if (!ok) throw new AssertionError(why);
    }

    /** Asking must end with the client's own exception for this status and type (null: none told). */
    static ElasticsearchException fails(int status, String type, Ask ask) throws IOException {
        try {
            ask.ask();
        } catch (ElasticsearchException e) {
            same(e.status(), status);
            same(e.error().type(), type);
            check(type == null || e.error().reason() != null && !e.error().rootCause().isEmpty(),
                e.response());
            return e;
        }
        throw new AssertionError("nothing was refused");
    }

    /** A client with these credentials. */
    static ElasticsearchClient with(UnaryOperator<ElasticsearchTransportConfig.Builder> credentials) {
        return ElasticsearchClient.of(b -> {
            b.host(url);
            if (authority != null) b.sslContext(authority);
            return credentials.apply(b);
        });
    }

    static ElasticsearchClient as(String user, String secret) {
        return with(b -> b.usernameAndPassword(user, secret));
    }

    static ElasticsearchClient withKey(String encoded) {
        return with(b -> b.apiKey(encoded));
    }

    static JsonData json(String text) {
        return JsonData.fromJson(text);
    }

    static String quoted(String text) {
        StringBuilder out = new StringBuilder("\"");
        for (char c : text.toCharArray())
            if (c == '"' || c == '\\' || c < ' ') out.append(String.format("\\u%04x", (int) c));
            else out.append(c);
        return out.append('"').toString();
    }

    /** What a step failed with, and from where. */
    static String why(Throwable e) {
        StringWriter text = new StringWriter();
        e.printStackTrace(new PrintWriter(text));
        return text.toString().substring(0, Math.min(text.toString().length(), 1500));
    }

    public static void main(String[] arguments) throws Exception {
        url = arguments[0];
        password = arguments[1];
        model = arguments[2];
        if (arguments.length > 3)
            authority = TransportUtils.sslContextFromHttpCaCrt(new File(arguments[3]));
        client = as("elastic", password);
        Cluster.steps();
        Inference.steps();
        Services.steps();
        Models.steps();
        Security.steps();
        Accounts.steps();
        for (Map.Entry<String, Step> step : steps.entrySet()) {
            String why = null;
            try {
                step.getValue().run();
            } catch (Throwable e) {
                why = why(e);
            }
            System.out.printf("{\"step\":%s,\"ok\":%s,\"why\":%s}%n", quoted(step.getKey()), why == null,
                quoted(why == null ? "" : why));
        }
        System.out.printf("{\"step\":\"version\",\"ok\":true,\"version\":\"%s\"}%n",
            co.elastic.clients.transport.Version.VERSION);
        client.close();
    }
}
