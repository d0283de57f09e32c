// Drives a server with the official Go client; run by ../run.py.
//
//	story URL PASSWORD MODEL [CA]     one JSON line per step: {"step", "ok", "why"}
//
// MODEL is a folder of tests/fixtures/models/eland_tiny that classifies texts, CA a PEM file of who
// signed the server's certificate. The story is written
// for the 9.x client; run.py makes the one of 8.x of it by exchanging the import paths, so it keeps to
// what both have.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"reflect"
	"strings"
	"time"

	"github.com/elastic/go-elasticsearch/v9"
	"github.com/elastic/go-elasticsearch/v9/typedapi/types"
)

const secret = "sk-S3CRET-go"

var (
	url, password, model = os.Args[1], os.Args[2], os.Args[3]
	ctx                  = context.Background()
	typed                *elasticsearch.TypedClient
	low                  *elasticsearch.Client
)

// wrong is what a step panics with; main turns it into the step's "why".
type wrong struct{ why string }

func check(ok bool, format string, values ...any) {
	if !ok {
		panic(wrong{fmt.Sprintf(format, values...)})
	}
}

// must passes a result on, or ends the step.
func must[T any](value T, err error) T {
	check(err == nil, "%v (%T)", err, err)
	return value
}

func same(got, want any) {
	check(reflect.DeepEqual(got, want), "got %#v, not %#v", got, want)
}

// fails: err must be the client's own error for this status and type.
func fails(err error, status int, kind string) *types.ElasticsearchError {
	var refusal *types.ElasticsearchError
	check(errors.As(err, &refusal), "not the client's error: %v (%T)", err, err)
	same(refusal.Status, status)
	same(refusal.ErrorCause.Type, kind)
	check(refusal.ErrorCause.Reason != nil && len(refusal.ErrorCause.RootCause) > 0, "%#v", refusal)
	return refusal
}

// nobody is a configuration without credentials.
func nobody() elasticsearch.Config {
	c := elasticsearch.Config{Addresses: []string{url}, MaxRetries: 1}
	if len(os.Args) > 4 {
		c.CACert = must(os.ReadFile(os.Args[4]))
	}
	return c
}

func config() elasticsearch.Config {
	c := nobody()
	c.Username, c.Password = "elastic", password
	return c
}

func withKey(encoded string) *elasticsearch.TypedClient {
	c := nobody()
	c.APIKey = encoded
	return must(elasticsearch.NewTypedClient(c))
}

// decoded reads a whole answer whose shape the typed API gets wrong (see README.md of tests).
func decoded(response *http.Response, err error) map[string]any {
	check(err == nil, "%v", err)
	defer response.Body.Close()
	same(response.StatusCode, 200)
	var body map[string]any
	check(json.NewDecoder(response.Body).Decode(&body) == nil, "no JSON object")
	return body
}

// events of a whole stream; the last one, [DONE], is checked and left out.
func events(text string) []map[string]any {
	var out []map[string]any
	blocks := strings.Split(strings.TrimSuffix(text, "\n\n"), "\n\n")
	for _, block := range blocks {
		data, found := strings.CutPrefix(block, "event: message\ndata: ")
		check(found, "no event: %q", block)
		if data == "[DONE]" {
			break
		}
		var event map[string]any
		check(json.Unmarshal([]byte(data), &event) == nil, "no JSON: %q", data)
		out = append(out, event)
	}
	same(blocks[len(blocks)-1], "event: message\ndata: [DONE]")
	return out
}

func body(value any) *strings.Reader {
	return strings.NewReader(string(must(json.Marshal(value))))
}

type object = map[string]any

type step struct {
	name string
	run  func()
}

func run(s step) (why string) {
	defer func() {
		switch e := recover().(type) {
		case nil:
		case wrong:
			why = e.why
		default:
			why = fmt.Sprint(e)
		}
	}()
	s.run()
	return ""
}

func tell(line object) {
	fmt.Println(string(must(json.Marshal(line))))
}

func main() {
	typed = must(elasticsearch.NewTypedClient(config()))
	low = must(elasticsearch.NewClient(config()))
	all := append(append(append([]step{}, clusterSteps...), inferenceSteps...), modelSteps...)
	for _, s := range append(all, securitySteps...) {
		begun := time.Now()
		why := run(s)
		tell(object{"step": s.name, "ok": why == "", "why": why, "ms": time.Since(begun).Milliseconds()})
	}
	tell(object{"step": "version", "ok": true, "version": elasticsearch.Version})
}
