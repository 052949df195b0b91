package route

import (
	"testing"
	"time"
)

// TestEqual changes one field after the other: each counts, but live counts do
// not.
func TestEqual(t *testing.T) {
	route := Route{Name: "a", Cluster: "c", Load: new(Load)}
	for name, change := range map[string]func(*Route){
		"name": func(r *Route) { r.Name = "b" }, "cluster": func(r *Route) { r.Cluster = "d" },
		"refuse": func(r *Route) { r.Refuse = "no" }, "flows": func(r *Route) { r.MaxFlows = 1 },
		"path": func(r *Route) { r.Path = "splice" },
	} {
		other := route
		if other.Load = new(Load); !route.Equal(&other) {
			t.Error("the load counts")
		}
		if change(&other); route.Equal(&other) {
			t.Errorf("routes with another %s are equal", name)
		}
	}

	endpoint := Endpoint{Host: "h", Port: 1, Addrs: addrs("10.0.0.1:1")}
	for name, change := range map[string]func(*Endpoint){
		"host": func(e *Endpoint) { e.Host = "i" }, "port": func(e *Endpoint) { e.Port++ },
		"address": func(e *Endpoint) { e.Addrs = addrs("10.0.0.2:1") }, "address gone": func(e *Endpoint) { e.Addrs = nil },
		"weight": func(e *Endpoint) { e.Weight++ }, "health": func(e *Endpoint) { e.Health++ },
	} {
		other := endpoint
		if other.Load = new(Load); !endpoint.Equal(other) {
			t.Error("the load counts")
		}
		if change(&other); endpoint.Equal(other) {
			t.Errorf("endpoints with another %s are equal", name)
		}
	}

	cluster := Cluster{Name: "c", Endpoints: []Endpoint{endpoint}}
	for name, change := range map[string]func(*Cluster){
		"name": func(c *Cluster) { c.Name = "d" }, "policy": func(c *Cluster) { c.Policy++ },
		"timeout": func(c *Cluster) { c.ConnectTimeout = time.Second }, "threshold": func(c *Cluster) { c.PanicThreshold = 1 },
		"proxy": func(c *Cluster) { c.SendProxy = true }, "discovery": func(c *Cluster) { c.Discovery++ },
		"endpoints": func(c *Cluster) { c.Endpoints = nil },
	} {
		other := cluster
		if other.balance = new(balance); !cluster.Equal(&other) {
			t.Error("the pick state counts")
		}
		if change(&other); cluster.Equal(&other) {
			t.Errorf("clusters with another %s are equal", name)
		}
	}

	var noRoute *Route
	var noCluster *Cluster
	if noRoute.Equal(&route) || route.Equal(nil) || !noRoute.Equal(nil) ||
		noCluster.Equal(&cluster) || cluster.Equal(nil) || !noCluster.Equal(nil) {
		t.Error("nil is equal to nil only")
	}
}

func TestNames(t *testing.T) {
	for _, test := range []struct{ got, want string }{
		{RoundRobin.String(), "round_robin"}, {LeastRequest.String(), "least_request"}, {Random.String(), "random"},
		{Policy(7).String(), "7"}, {Passing.String(), "passing"}, {Warning.String(), "warning"},
		{Critical.String(), "critical"}, {Strict.String(), "strict"}, {Logical.String(), "logical"},
		{Endpoint{Host: "h.x", Port: 5}.String(), "h.x:5"}, {at("[fd00::1]:5", 1).String(), "[fd00::1]:5"},
	} {
		if test.got != test.want {
			t.Errorf("got %s, want %s", test.got, test.want)
		}
	}
}
