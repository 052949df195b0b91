package registration

import (
	"context"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"
)

var listenConfig net.ListenConfig

// TestLeave goes through the end of a gateway, and the beginning of the next.
func TestLeave(t *testing.T) {
	f := newFake(t)
	r, _ := registrar(t, f.client, flags(t, "-register"))
	start(t, r)
	u := run(t, r)
	must(t, r.Maintenance(t.Context()))
	u.wait(t)
	if got := f.reason("mesh-gateway"); got != MaintenanceReason {
		t.Errorf("reason %q", got)
	}
	// That one dies here. The next one listens only when it runs.
	r, log := registrar(t, f.client, flags(t, "-register"))
	start(t, r)
	if f.reason("mesh-gateway") == "" {
		t.Error("the maintenance ended before the gateway runs")
	}
	f.failing(only("PUT /v1/agent/service/maintenance", status(500, "no")))
	run(t, r)
	eventually(t, "the log", log.waits("end the maintenance"))
	f.failing(nil)
	eventually(t, "the end of the maintenance", func() bool { return f.reason("mesh-gateway") == "" })
	eventually(t, "the log", log.waits("an earlier process left behind"))
	must(t, r.Maintenance(t.Context()))
	must(t, r.Deregister(t.Context()))
	if f.get("mesh-gateway") != nil {
		t.Error("it is still registered")
	}
	must(t, r.Maintenance(t.Context())) // nobody uses it
	must(t, r.Deregister(t.Context()))
}

// TestOperatorsMaintenance stays.
func TestOperatorsMaintenance(t *testing.T) {
	f := newFake(t)
	f.services["gate"] = &api.AgentService{Kind: api.ServiceKindMeshGateway, ID: "gate", Port: 1}
	f.reasons["gate"] = "disk is full"
	r, log := registrar(t, f.client, flags(t))
	start(t, r)
	run(t, r)
	eventually(t, "the log", log.waits("disk is full"))
	eventually(t, "the way out", log.waits("consul maint -disable -service=gate"))
	must(t, r.Maintenance(t.Context()))
	must(t, r.Deregister(t.Context()))
	if got := f.reason("gate"); got != "disk is full" || f.get("gate") == nil {
		t.Errorf("reason %q", got)
	}
}

// TestNothingToLeave has nothing to do, and does not wait for an agent to say so.
func TestNothingToLeave(t *testing.T) {
	f := newFake(t)
	f.failing(hang)
	r, _ := registrar(t, f.client, flags(t))
	must(t, r.Maintenance(t.Context()))
	must(t, r.Deregister(t.Context()))
	r, _ = registrar(t, f.client, flags(t, "-register"))
	must(t, r.Deregister(t.Context()))
}

// TestLeaveWithTrouble has the agent fail while the gateway leaves.
func TestLeaveWithTrouble(t *testing.T) {
	for name, c := range map[string]struct {
		fault func(http.ResponseWriter, *http.Request) bool
		says  string
	}{
		"refused": {status(403, "Permission denied"), "lacks service:write"},
		"500":     {status(500, "no"), "the agent failed"},
		"hangs":   {hang, "no answer in time"},
		"html":    {status(404, html), "no Consul agent"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFake(t)
			r, _ := registrar(t, f.client, flags(t, "-register"))
			start(t, r)
			r.times.request = 500 * time.Millisecond
			f.failing(only("PUT", c.fault))
			for what, leave := range map[string]func(context.Context) error{"maintenance": r.Maintenance, "deregister": r.Deregister} {
				ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
				err := leave(ctx)
				cancel()
				if err == nil || !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), what) {
					t.Errorf("%s: %v", what, err)
				}
			}
		})
	}
}

// TestLeaveOvercomes has the agent fail for a while.
func TestLeaveOvercomes(t *testing.T) {
	f := newFake(t)
	r, _ := registrar(t, f.client, flags(t, "-register"))
	start(t, r)
	f.failing(only("PUT", status(500, "no")))
	done := make(chan error, 1)
	go func() { done <- r.Deregister(t.Context()) }()
	eventually(t, "some attempts", func() bool { return f.count("PUT /v1/agent/service/deregister") > 2 })
	f.failing(nil)
	must(t, <-done)
	if f.get("mesh-gateway") != nil {
		t.Error("it is still registered")
	}
}

// TestNotAfterwards has a registration under way while the gateway is told to leave,
// and wants none of it to be left.
func TestNotAfterwards(t *testing.T) {
	f := newFake(t)
	r, _ := registrar(t, f.client, flags(t, "-register"))
	start(t, r)
	begun, proceed := make(chan struct{}, 8), make(chan struct{})
	f.failing(only("PUT /v1/agent/service/register", func(http.ResponseWriter, *http.Request) bool {
		begun <- struct{}{}
		<-proceed
		return false
	}))
	u := run(t, r)
	f.change(func() { delete(f.services, "mesh-gateway") })
	<-begun
	done := make(chan error, 1)
	go func() { done <- r.Deregister(t.Context()) }()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := r.Maintenance(ctx); err == nil || !strings.Contains(err.Error(), "under way") {
		t.Errorf("maintenance behind a request that does not end: %v", err)
	}
	close(proceed)
	must(t, <-done)
	u.wait(t)
	if f.get("mesh-gateway") != nil {
		t.Error("it is registered again")
	}
}
