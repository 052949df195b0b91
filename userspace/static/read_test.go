package static

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"sluice/userspace/route"
)

var plain = cmp.Options{
	cmpopts.IgnoreUnexported(route.Cluster{}),
	cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b }),
}

func addrs(s ...string) []netip.AddrPort {
	var out []netip.AddrPort
	for _, a := range s {
		out = append(out, netip.MustParseAddrPort(a))
	}
	return out
}

func TestGolden(t *testing.T) {
	wantRoutes := []*route.Route{
		{
			Name: "api.default.dc1.internal.example.consul", Cluster: "api",
			Options: route.Options{MaxFlows: 1000, Path: "splice", Credit: 262144},
		},
		{Name: "*.dc2.internal.example.consul", Cluster: "dc2", Options: route.Options{Path: "auto"}},
		{Name: "old.default.dc1.internal.example.consul", Refuse: "moved to dc3"},
		{Name: "*", Cluster: "defaults"},
	}
	wantClusters := []*route.Cluster{
		{
			Name: "api", Policy: route.LeastRequest, ConnectTimeout: 3 * time.Second, PanicThreshold: 60,
			SendProxy: true, Discovery: route.Logical,
			Endpoints: []route.Endpoint{
				{Addrs: addrs("10.0.0.1:20000"), Weight: 10, Health: route.Warning},
				{Addrs: addrs("[2001:db8::1]:20000"), Weight: 128, Health: route.Critical},
				{Host: "db.example.", Port: 443, Weight: 1},
			},
		},
		{
			Name: "dc2", Policy: route.Random, PanicThreshold: route.NoPanic,
			Endpoints: []route.Endpoint{{Addrs: addrs("192.0.2.1:443"), Weight: 1}},
		},
		{
			Name:      "defaults",
			Endpoints: []route.Endpoint{{Host: "db.example", Port: 443, Weight: 1}},
		},
	}
	for _, file := range []string{"testdata/all.hcl", "testdata/all.json"} {
		routes, clusters, err := Read(file, "splice", "sockmap")
		if err != nil {
			t.Errorf("%s: %v", file, err)
			continue
		}
		if diff := cmp.Diff(wantRoutes, routes, plain); diff != "" {
			t.Errorf("%s: routes (-want +got):\n%s", file, diff)
		}
		if diff := cmp.Diff(wantClusters, clusters, plain); diff != "" {
			t.Errorf("%s: clusters (-want +got):\n%s", file, diff)
		}
		if _, err := route.Replace(nil, file, routes, clusters); err != nil {
			t.Errorf("%s makes no table: %v", file, err)
		}
	}
}

// A block that says nothing of interest, to have lines to count.
const api = "cluster \"api\" {}\n"

func TestProblems(t *testing.T) {
	long := strings.Repeat("x", 64)
	for _, tt := range []struct{ name, src, want string }{
		{"syntax", "route \"a\" {\n  cluster = \n}", `f.hcl:2: Invalid expression: Expected the start of an expression, but found an invalid expression token.`},
		{"open block", api + "\nroute \"a\" {\n", `f.hcl:3: Unclosed configuration block: There is no closing brace for this block before the end of the file. This may be caused by incorrect brace nesting elsewhere in this file.`},
		{"two arguments in a line", api + `route "a" { cluster = "api" path = "auto" }`, `f.hcl:2: Invalid single-argument block definition: A single-line block definition must end with a closing brace immediately after its single argument definition.`},
		{"twice in a block", api + "route \"a\" {\n cluster = \"api\"\n cluster = \"api\"\n}", `f.hcl:4: Attribute redefined: The argument "cluster" was already set at f.hcl:3,2-9. Each argument may be set only once.`},
		{"bracket bomb", "\n" + strings.Repeat("[", maxDepth+1), `f.hcl:2: more than 1000 brackets are open`},
		{"empty", " \n ", `f.hcl:1: the file is empty`},

		{"unknown block", api + "\nruote \"a\" {}", `f.hcl:3: Unsupported block type: Blocks of type "ruote" are not expected here. Did you mean "route"?`},
		{"unknown argument", api + "route \"a\" {\n  clustr = \"api\"\n}", `f.hcl:3: Unsupported argument: An argument named "clustr" is not expected here. Did you mean "cluster"?`},
		{"unknown argument of an endpoint", "cluster \"api\" {\n endpoint \"192.0.2.1:1\" {\n  wieght = 2\n }\n}", `f.hcl:3: Unsupported argument: An argument named "wieght" is not expected here. Did you mean "weight"?`},
		{"no label", "cluster {\n}", `f.hcl:1: Missing name for cluster: All cluster blocks must have 1 labels (name).`},
		{"two labels", "\ncluster \"a\" \"b\" {}", `f.hcl:2: Extraneous label for cluster: Only 1 labels (name) are expected for cluster blocks.`},
		{"argument for block", "route = 1", `f.hcl:1: Unsupported argument: An argument named "route" is not expected here. Did you mean to define a block of type "route"?`},
		{"text for number", api + "route \"a\" {\n  cluster = \"api\"\n  max_flows = \"many\"\n}", `f.hcl:4: Unsuitable value type: Unsuitable value: a number is required`},
		{"half a flow", api + "route \"a\" {\n  cluster = \"api\"\n  max_flows = 1.5\n}", `f.hcl:4: Unsuitable value type: Unsuitable value: value must be a whole number, between -9223372036854775808 and 9223372036854775807`},
		{"number too large", api + "route \"a\" {\n  cluster = \"api\"\n  max_flows = 1e40\n}", `f.hcl:4: Unsuitable value type: Unsuitable value: value must be a whole number, between -9223372036854775808 and 9223372036854775807`},
		{"text for bool", "cluster \"api\" {\n  send_proxy = \"v2\"\n}", `f.hcl:2: Unsuitable value type: Unsuitable value: a bool is required`},
		{"variable", "cluster \"api\" {\n  policy = random\n}", "f.hcl:2: Variables not allowed: Variables may not be used here.\nf.hcl:2: Unsuitable value type: Unsuitable value: value must be known"},

		{"route twice", api + "route \"a.b\" {\n  cluster = \"api\"\n}\nroute \"A.b.\" {\n  cluster = \"api\"\n}", `f.hcl:5: route "a.b" is defined already, at line 2`},
		{"cluster twice", api + "\n" + api, `f.hcl:3: cluster "api" is defined already, at line 1`},
		{"unknown cluster", api + "route \"a\" {\n\n  cluster = \"web\"\n}", `f.hcl:4: no cluster is named "web"`},
		{"nothing to do", api + "route \"a\" {\n}", `f.hcl:2: route "a" has neither cluster nor refuse`},
		{"both", api + "route \"a\" {\n  cluster = \"api\"\n  refuse = \"gone\"\n}", `f.hcl:4: route "a" has a cluster and refuses; it can only do one`},
		{"empty refuse", "route \"a\" {\n  refuse = \"\"\n}", `f.hcl:2: refuse is empty; it says why the route refuses`},
		{"empty cluster", "route \"a\" {\n  cluster = \"\"\n}", `f.hcl:2: cluster is empty`},
		{"little credit", api + "route \"a\" {\n  cluster = \"api\"\n  credit = 1000\n}", `f.hcl:4: credit is 1000; it must be between 65536 and 67108864 (bytes)`},
		{"negative limit", api + "route \"a\" {\n  cluster = \"api\"\n  max_flows = -1\n}", `f.hcl:4: max_flows is -1; it must not be negative`},
		{"path", api + "route \"a\" {\n  cluster = \"api\"\n  path = \"warp\"\n}", `f.hcl:4: path "warp" is not known; the paths are auto, splice`},
		{"route without name", api + "route \"\" {\n  cluster = \"api\"\n}", `f.hcl:2: route "": name is empty`},
		{"route with empty label", api + "route \"a..b\" {\n  cluster = \"api\"\n}", `f.hcl:2: route "a..b": name has an empty label`},
		{"route with long label", api + "route \"" + long + "\" {\n  cluster = \"api\"\n}", `f.hcl:2: route "` + long + `": name has a label longer than 63 bytes`},
		{"route with umlaut", api + "route \"bücher.example\" {\n  cluster = \"api\"\n}", `f.hcl:2: route "bücher.example": name has the character 'ü'`},
		{"wildcard within", api + "route \"a.*.b\" {\n  cluster = \"api\"\n}", `f.hcl:2: route "a.*.b": name has a "*" that is not the whole first label`},
		{"wildcard in a label", api + "route \"a*.b\" {\n  cluster = \"api\"\n}", `f.hcl:2: route "a*.b": name has a "*" that is not the whole first label`},

		{"cluster without name", "\ncluster \"\" {}", `f.hcl:2: cluster "": has no name`},
		{"cluster with space", "cluster \"a b\" {}", `f.hcl:1: cluster "a b": name has a character other than visible ASCII`},
		{"policy", "cluster \"a\" {\n  policy = \"maglev\"\n}", `f.hcl:2: policy "maglev" is not known; it can be round_robin, least_request, random`},
		{"dns", "cluster \"a\" {\n  dns = \"lax\"\n}", `f.hcl:2: dns "lax" is not known; it can be strict, logical`},
		{"timeout", "cluster \"a\" {\n  connect_timeout = \"3\"\n}", `f.hcl:2: connect_timeout "3" is not a time such as "3s" or "500ms"`},
		{"no timeout", "cluster \"a\" {\n  connect_timeout = \"0s\"\n}", `f.hcl:2: connect_timeout "0s" is not a time such as "3s" or "500ms"`},
		{"panic 0", "cluster \"a\" {\n  panic_threshold = 0\n}", `f.hcl:2: panic_threshold is 0; it must be 1 to 100 percent, or -1 for never`},
		{"panic 101", "cluster \"a\" {\n  panic_threshold = 101\n}", `f.hcl:2: panic_threshold is 101; it must be 1 to 100 percent, or -1 for never`},

		{"weight 0", "cluster \"a\" {\n endpoint \"192.0.2.1:1\" {\n  weight = 0\n }\n}", `f.hcl:3: weight is 0; it must be 1 to 128`},
		{"weight 129", "cluster \"a\" {\n endpoint \"192.0.2.1:1\" {\n  weight = 129\n }\n}", `f.hcl:3: weight is 129; it must be 1 to 128`},
		{"health", "cluster \"a\" {\n endpoint \"192.0.2.1:1\" {\n  health = \"fine\"\n }\n}", `f.hcl:3: health "fine" is not known; it can be passing, warning, critical`},
		{"no port", "cluster \"a\" {\n\n endpoint \"192.0.2.1\" {}\n}", `f.hcl:3: endpoint "192.0.2.1": missing port in address; it must be address:port, [address]:port or host:port`},
		{"bare v6", "cluster \"a\" {\n endpoint \"2001:db8::1:443\" {}\n}", `f.hcl:2: endpoint "2001:db8::1:443": too many colons in address; it must be address:port, [address]:port or host:port`},
		{"port 0", "cluster \"a\" {\n endpoint \"192.0.2.1:0\" {}\n}", `f.hcl:2: endpoint "192.0.2.1:0": port "0" is not 1 to 65535`},
		{"port 65536", "cluster \"a\" {\n endpoint \"192.0.2.1:65536\" {}\n}", `f.hcl:2: endpoint "192.0.2.1:65536": port "65536" is not 1 to 65535`},
		{"port by name", "cluster \"a\" {\n endpoint \"192.0.2.1:https\" {}\n}", `f.hcl:2: endpoint "192.0.2.1:https": port "https" is not 1 to 65535`},
		{"no host", "cluster \"a\" {\n endpoint \":443\" {}\n}", `f.hcl:2: endpoint ":443": there is no address before the port`},
		{"bad v4", "cluster \"a\" {\n endpoint \"10.0.0.300:443\" {}\n}", `f.hcl:2: endpoint "10.0.0.300:443": "10.0.0.300" is not an address`},
		{"bad v6", "cluster \"a\" {\n endpoint \"[2001::db8::1]:443\" {}\n}", `f.hcl:2: endpoint "[2001::db8::1]:443": "2001::db8::1" is not an address`},
		{"any address", "cluster \"a\" {\n endpoint \"0.0.0.0:443\" {}\n}", `f.hcl:2: endpoint "0.0.0.0:443": address cannot be connected to`},
		{"multicast", "cluster \"a\" {\n endpoint \"[ff02::1]:443\" {}\n}", `f.hcl:2: endpoint "[ff02::1]:443": address cannot be connected to`},
		{"bad host", "cluster \"a\" {\n endpoint \"db!.example:443\" {}\n}", `f.hcl:2: endpoint "db!.example:443": host has the character '!'`},
		{"dot host", "cluster \"a\" {\n endpoint \".:443\" {}\n}", `f.hcl:2: endpoint ".:443": host is empty`},
		{"endpoint twice", "cluster \"a\" {\n endpoint \"[::ffff:192.0.2.1]:1\" {}\n endpoint \"192.0.2.1:1\" {}\n}", `f.hcl:3: endpoint "192.0.2.1:1" is defined already, at line 2`},
		{"host twice", "cluster \"a\" {\n endpoint \"DB.example:1\" {}\n endpoint \"db.example:1\" {}\n}", `f.hcl:3: endpoint "db.example:1" is defined already, at line 2`},

		{"all in one go", "route \"a\" {\n  cluster = \"b\"\n}\nroute \"c\" {}\ncluster \"d\" {\n  policy = \"x\"\n  dns = \"y\"\n}",
			"f.hcl:2: no cluster is named \"b\"\n" +
				"f.hcl:4: route \"c\" has neither cluster nor refuse\n" +
				"f.hcl:6: policy \"x\" is not known; it can be round_robin, least_request, random\n" +
				"f.hcl:7: dns \"y\" is not known; it can be strict, logical"},
		{"a bad cluster is known all the same", "cluster \"b\" {\n  policy = \"x\"\n}\nroute \"a\" {\n  cluster = \"b\"\n}",
			`f.hcl:2: policy "x" is not known; it can be round_robin, least_request, random`},
	} {
		t.Run(tt.name, func(t *testing.T) { wantProblems(t, "f.hcl", tt.src, tt.want) })
	}
}

func TestProblemsOfJSON(t *testing.T) {
	for _, tt := range []struct{ name, src, want string }{
		{"syntax", "{\n\"route\": {\n\"a\" 1}\n}", `f.json:3: Missing property value colon: A colon must appear between an object property's name and its value.`},
		{"not an object", "\n[]", ``},
		{"unknown block", "{\n \"ruote\": {}\n}", `f.json:2: Extraneous JSON object property: No argument or block type is named "ruote". Did you mean "route"?`},
		{"unknown argument", "{\"cluster\": {\n\"a\": {\n\"polizy\": \"random\"}}}", `f.json:3: Extraneous JSON object property: No argument or block type is named "polizy". Did you mean "policy"?`},
		{"not a block", "{\n\"cluster\": 7\n}", "f.json:2: Incorrect JSON value type: Either a JSON object or JSON array of objects is required here, to specify name labels for this block.\nf.json:2: Missing block label: At least one object property is required, whose name represents the cluster block's name."},
		{"route twice", "{\"cluster\": {\"a\": {}}, \"route\": {\n\"x\": {\"cluster\": \"a\"},\n\"x\": {\"cluster\": \"a\"}}}", `f.json:3: route "x" is defined already, at line 2`},
		{"weight", "{\"cluster\": {\"a\": {\"endpoint\": {\n\"192.0.2.1:1\": {\n\"weight\": 1000}}}}}", `f.json:3: weight is 1000; it must be 1 to 128`},
		{"unknown cluster", "{\"route\": {\"x\": {\n\"cluster\": \"a\"}}}", `f.json:2: no cluster is named "a"`},
		{"text", "{\"cluster\": {\"a\": {\n\"send_proxy\": \"maybe\"}}}", `f.json:2: Unsuitable value type: Unsuitable value: a bool is required`},
	} {
		t.Run(tt.name, func(t *testing.T) { wantProblems(t, "f.json", tt.src, tt.want) })
	}
}

func wantProblems(t *testing.T, file, src, want string) {
	t.Helper()
	_, _, err := parse(file, []byte(src), []string{"splice"})
	got := ""
	if err != nil {
		got = err.Error()
	}
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if _, ok := errors.AsType[Problems](err); err != nil && !ok {
		t.Errorf("error is a %T, and not Problems", err)
	}
}

func TestNullIsNotSet(t *testing.T) {
	routes, clusters, err := parse("f.json", []byte(`{
		"route": {"x": {"cluster": "a", "refuse": null, "max_flows": null, "path": null}},
		"cluster": {"a": {"policy": null, "panic_threshold": null, "send_proxy": null}}
	}`), nil)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]*route.Route{{Name: "x", Cluster: "a"}}, routes, plain); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]*route.Cluster{{Name: "a"}}, clusters, plain); diff != "" {
		t.Error(diff)
	}
}

func TestTableWithoutRoutes(t *testing.T) {
	for file, src := range map[string]string{"f.hcl": "# none yet\n", "f.json": "{}"} {
		routes, clusters, err := parse(file, []byte(src), nil)
		if err != nil || len(routes)+len(clusters) > 0 {
			t.Errorf("%s: %v, %v, %v", file, routes, clusters, err)
		}
	}
}

func TestReadFails(t *testing.T) {
	dir := t.TempDir()
	for _, tt := range []struct {
		name, file string
		is         error
	}{
		{"no file", filepath.Join(dir, "none.hcl"), fs.ErrNotExist},
		{"directory", dir, nil},
	} {
		_, _, err := Read(tt.file)
		if err == nil || tt.is != nil && !errors.Is(err, tt.is) || !strings.Contains(err.Error(), tt.file) {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}

func TestManyRoutes(t *testing.T) {
	const n = 10_000
	file := filepath.Join(t.TempDir(), "many.hcl")
	if err := os.WriteFile(file, many(n), 0o600); err != nil {
		t.Fatal(err)
	}
	routes, clusters, err := Read(file)
	if err != nil || len(routes) != n || len(clusters) != n {
		t.Errorf("%d routes, %d clusters, %v", len(routes), len(clusters), err)
	}
}

func many(n int) []byte {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "route \"s%d.default.dc1.internal.example.consul\" {\n  cluster = \"s%d\"\n}\n", i, i)
		fmt.Fprintf(&b, "cluster \"s%d\" {\n  endpoint \"10.0.%d.%d:20000\" {\n    weight = 10\n  }\n}\n", i, i>>8&255, i&255)
	}
	return []byte(b.String())
}

func BenchmarkRead(b *testing.B) {
	src := many(10_000)
	b.SetBytes(int64(len(src)))
	for b.Loop() {
		if _, _, err := parse("f.hcl", src, nil); err != nil {
			b.Fatal(err)
		}
	}
}

var hugeNumber = regexp.MustCompile(`[eE][-+]?[0-9]{5}`)

func FuzzRead(f *testing.F) {
	for _, file := range []string{"testdata/all.hcl", "testdata/all.json"} {
		src, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(src, strings.HasSuffix(file, ".json"))
	}
	f.Add([]byte("route \"a\" {\n  cluster = 1 + upper(null)[0].x\n}"), false)
	f.Add([]byte(`{"cluster": [{"a": {"endpoint": [{"x:1": {"weight": 1e9}}, 2]}}, null]}`), true)
	f.Fuzz(func(t *testing.T, src []byte, json bool) {
		if hugeNumber.Match(src) {
			t.Skip("go-cty takes seconds to write all the digits of such a number")
		}
		file := "f.hcl"
		if json {
			file = "f.json"
		}
		routes, clusters, err := parse(file, src, []string{"splice"})
		if err == nil {
			// What is taken here must make a table, or the error would name no line.
			if _, err := route.Replace(nil, file, routes, clusters); err != nil {
				t.Errorf("taken, but %v", err)
			}
			return
		}
		for _, line := range strings.Split(err.Error(), "\n") {
			if !strings.HasPrefix(line, file+":") {
				t.Errorf("no file and line in %q", line)
			}
		}
	})
}
