package main

import (
	"bytes"
	"encoding/json"
	"net/netip"
	"strings"
	"testing"

	"github.com/hashicorp/consul/api"

	"sluice/scripts/consul"
	"sluice/scripts/consul/consultest"
)

// TestModes asks a real agent, as a user would.
func TestModes(t *testing.T) {
	c := consultest.Start(t, consul.OneServer, consul.Settings{ACL: true})
	agent := c.Agents[0]
	err := agent.Register(t.Context(), consul.Service{
		Name: "web", Addr: netip.AddrPortFrom(c.Loopback(1, 20), 9001), Sidecar: 19001,
		Upstreams: []api.Upstream{{DestinationName: "db", LocalBindPort: 5000, MeshGateway: api.MeshGatewayConfig{Mode: api.MeshGatewayModeLocal}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	modes := func(token string, args ...string) (status int, stdout, stderr string) {
		var out, errs bytes.Buffer
		set := map[string]string{"CONSUL_HTTP_ADDR": agent.HTTP(), "CONSUL_HTTP_TOKEN": token}
		lookup := func(name string) (string, bool) { value, ok := set[name]; return value, ok }
		status = run(append([]string{"modes"}, args...), environment{stdout: &out, stderr: &errs, lookupEnv: lookup})
		return status, out.String(), errs.String()
	}

	const warning = "web -> db: db has no sidecar in dc1"
	status, stdout, stderr := modes(c.Token)
	if want := "web      1         db        db in dc1  local  upstream    directly to sidecars in dc1: none\n"; status != exitOK || !strings.HasSuffix(stdout, want) {
		t.Errorf("status %d, table:\n%s", status, stdout)
	}
	if stderr != "warning: "+warning+"\n" {
		t.Errorf("stderr %q", stderr)
	}
	status, stdout, stderr = modes(c.Token, "-format=json", "web")
	var report struct{ Warnings []string }
	if err := json.Unmarshal([]byte(stdout), &report); err != nil || status != exitOK || stderr != "" {
		t.Fatalf("status %d, %v, stderr %q, JSON:\n%s", status, err, stderr, stdout)
	}
	if len(report.Warnings) != 1 || report.Warnings[0] != warning {
		t.Errorf("warnings %q", report.Warnings)
	}
	status, stdout, stderr = modes("00000000-0000-0000-0000-000000000000")
	if status != exitError || stdout != "" || !strings.Contains(stderr, "ACL not found") {
		t.Errorf("with a token that there is not: status %d, %q, %q", status, stdout, stderr)
	}
}
