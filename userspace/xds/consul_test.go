package xds

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protojson"

	"sluice/userspace/route"
)

// captured is what a real agent sent, by type.
func captured(t testing.TB, path string) map[string][]*discoveryv3.Resource {
	t.Helper()
	file, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var all discoveryv3.DeltaDiscoveryResponse
	if err := protojson.Unmarshal(file, &all); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	by := map[string][]*discoveryv3.Resource{}
	for _, r := range all.GetResources() {
		kind := r.GetResource().GetTypeUrl()
		by[kind] = append(by[kind], r)
	}
	return by
}

// whole is text with everything that a table holds.
func whole(t *route.Table) string {
	lines := strings.Split(text(t), "\n")
	for c := range t.Clusters() {
		settings := fmt.Sprintf("%s: %s, connect %v, panic %d, %s dns", c.Name, c.Policy, c.ConnectTimeout, c.PanicThreshold, c.Discovery)
		for _, e := range c.Endpoints {
			settings += fmt.Sprintf(", %s %s weight %d", e, e.Health, e.Weight)
		}
		lines = slices.DeleteFunc(lines, func(l string) bool { return strings.HasPrefix(l, c.Name+" =") })
		lines = append(lines, settings)
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n") + "\n"
}

// TestConsul makes the table of what real agents sent, for the meshes that
// testdata/README.md describes.
func TestConsul(t *testing.T) {
	files, err := filepath.Glob("testdata/*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("no testdata: %v", err)
	}
	for _, file := range files {
		t.Run(file, func(t *testing.T) {
			p := newPlay(t, nil)
			p.loss.Begin(true)
			for kind, resources := range captured(t, file) {
				p.take(&discoveryv3.DeltaDiscoveryResponse{TypeUrl: kind, Resources: resources}, p.now)
			}
			p.after(time.Minute)
			if _, err := p.compile(p.now); err != nil {
				t.Fatal(err)
			}
			got := whole(p.table)
			for _, l := range p.bound() {
				got += fmt.Sprintf("listener %s %s\n", l.Name, l.Addr)
			}
			// What is not known of Consul's, or cannot be: nothing but the host name that
			// one gateway is to listen on.
			for line := range strings.Lines(p.log.String()) {
				_, message, _ := strings.Cut(line, " ")
				got += "log " + message
			}
			golden := strings.TrimSuffix(file, ".json") + ".table"
			if *captureFrom != "" {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Error(diff)
			}
		})
	}
}
