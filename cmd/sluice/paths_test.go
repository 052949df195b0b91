package main

import (
	"testing"

	"sluice/userspace/route"
)

// TestWantsKernel: BPF is left alone where no route could use it.
func TestWantsKernel(t *testing.T) {
	for _, c := range []struct {
		name, general, static string
		consul                map[string]string
		want                  bool
	}{
		{"by default", "auto", "", nil, true},
		{"splice alone", "splice", "", nil, false},
		{"splice for all", "splice", "splice", map[string]string{"web": "splice"}, false},
		{"a route of the file", "splice", "sockmap", nil, true},
		{"a route by Consul", "splice", "", map[string]string{"web": "auto"}, true},
	} {
		table, err := route.Replace(nil, "test", []*route.Route{
			{Name: "web.test", Refuse: "closed", Options: route.Options{Path: c.static}},
		}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if got := wantsKernel(c.general, c.consul, table); got != c.want {
			t.Errorf("%s: %t", c.name, got)
		}
	}
}
