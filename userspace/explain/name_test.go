package explain

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const td = "11111111-2222-3333-4444-555555555555.consul"

func TestParseName(t *testing.T) {
	for name, want := range map[string]Name{
		"web.default.dc1.internal." + td:             {Form: Service, Service: "web", Namespace: "default", Datacenter: "dc1", Domain: td},
		"v1.web.default.dc1.internal." + td:          {Form: Service, Subset: "v1", Service: "web", Namespace: "default", Datacenter: "dc1", Domain: td},
		"web.ns.part.dc1.internal-v1." + td:          {Form: Service, Service: "web", Namespace: "ns", Partition: "part", Datacenter: "dc1", Domain: td},
		"v1.web.ns.part.dc1.internal-v1." + td:       {Form: Service, Subset: "v1", Service: "web", Namespace: "ns", Partition: "part", Datacenter: "dc1", Domain: td},
		"dc2.internal." + td:                         {Form: Datacenter, Datacenter: "dc2", Domain: td},
		"part.dc2.internal-v1." + td:                 {Form: Datacenter, Partition: "part", Datacenter: "dc2", Domain: td},
		"pay.default.default.cloud.external." + td:   {Form: Peered, Service: "pay", Namespace: "default", Partition: "default", Peer: "cloud", Domain: td},
		"server.dc1.consul":                          {Form: Servers, Datacenter: "dc1", Domain: "consul"},
		"srv1.server.dc1.consul":                     {Form: Server, Node: "srv1", Datacenter: "dc1", Domain: "consul"},
		"srv1.rack2.server.dc1.corp.example":         {Form: Server, Node: "srv1.rack2", Datacenter: "dc1", Domain: "corp.example"},
		"server.dc1.peering." + td:                   {Form: Peering, Datacenter: "dc1", Domain: td},
		"near.default.dc1.query." + td:               {Form: Query, Service: "near", Namespace: "default", Datacenter: "dc1", Domain: td},
		"internal.default.dc1.internal." + td:        {Form: Service, Service: "internal", Namespace: "default", Datacenter: "dc1", Domain: td},
		"external.internal.dc1.internal." + td:       {Form: Service, Service: "external", Namespace: "internal", Datacenter: "dc1", Domain: td},
		"web.server.dc1.internal." + td:              {Form: Service, Service: "web", Namespace: "server", Datacenter: "dc1", Domain: td},
		"server.default.dc1.internal." + td:          {Form: Service, Service: "server", Namespace: "default", Datacenter: "dc1", Domain: td},
		"web.default.dc1.internal.corp.internal":     {Form: Service, Service: "web", Namespace: "default", Datacenter: "dc1", Domain: "corp.internal"},
		"server.ns.peering.internal." + td:           {Form: Service, Service: "server", Namespace: "ns", Datacenter: "peering", Domain: td},
		"server.default.default.dc1.internal-v1.abc": {Form: Service, Service: "server", Namespace: "default", Partition: "default", Datacenter: "dc1", Domain: "abc"},
	} {
		got, ok := ParseName(name)
		if diff := cmp.Diff(want, got); !ok || diff != "" {
			t.Errorf("%s: %v, -want +got:\n%s", name, ok, diff)
		}
		if back := got.String(); back != name {
			t.Errorf("%s comes back as %s", name, back)
		}
	}
	for _, name := range []string{
		"", ".", "web", "web.example.com", "internal", "internal." + td, "web.internal", "web.default.internal." + td,
		"a.b.c.d.e.internal." + td, "web.default.dc1.internal", "web.default.dc1.internal.", "web..dc1.internal." + td,
		".default.dc1.internal." + td, "web.default.dc1.internal-v1." + td, "web.default.peer.external." + td,
		"node.dc1.peering." + td, "server.dc1", "server..consul", ".server.dc1.consul", "*.",
	} {
		if n, ok := ParseName(name); ok {
			t.Errorf("%q is taken for %+v", name, n)
		}
	}
}

// FuzzParseName holds that a name that has a form is what the form makes of its parts,
// and that none of these has another number of labels than it should.
func FuzzParseName(f *testing.F) {
	for _, name := range []string{
		"web.default.dc1.internal.x.consul", "v1.web.ns.part.dc1.internal-v1.x.consul", "dc2.internal.x.consul",
		"pay.default.default.cloud.external.x.consul", "a.b.server.dc1.consul", "server.dc1.peering.x.consul",
		"near.default.dc1.query.x.consul", "internal.internal.internal.internal.internal", "..server..", "",
	} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		n, ok := ParseName(name)
		if !ok {
			if n != (Name{}) {
				t.Fatalf("%q has no form, but parts: %+v", name, n)
			}
			return
		}
		if back := n.String(); back != name {
			t.Fatalf("%q comes back as %q: %+v", name, back, n)
		}
		for _, label := range []string{n.Subset, n.Service, n.Namespace, n.Partition, n.Datacenter, n.Peer} {
			if strings.Contains(label, ".") {
				t.Fatalf("%q: label %q has a dot: %+v", name, label, n)
			}
		}
		if n.Domain == "" {
			t.Fatalf("%q: no domain: %+v", name, n)
		}
	})
}

// TestRealNames parses the names in the tables that real agents gave, in three
// datacenters, two of them federated and one a peer: see ../xds/testdata/README.md.
func TestRealNames(t *testing.T) {
	files, err := filepath.Glob("../xds/testdata/*.table")
	if err != nil || len(files) == 0 {
		t.Fatalf("no tables: %v", err)
	}
	forms := map[Form]int{}
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(content)) {
			fields := strings.Fields(line)
			if len(fields) < 3 || fields[1] != ">" && fields[1] != "!" {
				continue // no route
			}
			name := strings.TrimPrefix(fields[0], "*.")
			n, ok := ParseName(name)
			if !ok || n.String() != name {
				t.Errorf("%s: %s: %v, %+v", file, name, ok, n)
			}
			forms[n.Form]++
		}
	}
	for _, form := range []Form{Service, Datacenter, Peered, Servers, Server, Peering} {
		if forms[form] == 0 {
			t.Errorf("no name of a %s among them", form)
		}
	}
}
