package modes_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/consul/api"
)

func TestTable(t *testing.T) {
	f, client := newFake(t)
	// A second sidecar, of the same service, without the upstream, but with a query.
	list := f.answers["/v1/catalog/service/web-sidecar-proxy"].([]*api.CatalogService)
	other := *list[0]
	other.Node = "n9"
	other.ServiceProxy = &api.AgentServiceConnectProxyConfig{
		DestinationServiceName: "web",
		Upstreams:              []api.Upstream{{DestinationType: api.UpstreamDestTypePreparedQuery, DestinationName: "q", LocalBindPort: 1}},
	}
	f.answers["/v1/catalog/service/web-sidecar-proxy"] = append(list, &other)
	gateways := f.answers["/v1/health/service/gw?dc=dc2"].([]*api.ServiceEntry)
	f.answers["/v1/health/service/gw?dc=dc2"] = append(gateways, gateways[0], gateways[0], gateways[0])
	report, err := read(t, client, "")
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	if err := report.Table(&out); err != nil {
		t.Fatal(err)
	}
	want := `
SERVICE  SIDECARS                        UPSTREAM            TARGET     MODE    DECIDED BY                          CONNECTS TO
web      1 of 2: n1/web-sidecar-proxy  db in dc2           db in dc2  remote  proxy-defaults global: MeshGateway  gateways of dc2 (wan): 203.0.113.1:443 203.0.113.1:443 203.0.113.1:443 and 1 more
web      1 of 2: n9/web-sidecar-proxy  q (prepared query)  q in dc1   none    default                             directly to what the query finds
`
	if diff := cmp.Diff(fields(want), fields(out.String())); diff != "" {
		t.Error(diff)
	}
}

// fields are the words of each line.
func fields(text string) (all [][]string) {
	for line := range strings.Lines(strings.TrimSpace(text)) {
		all = append(all, strings.Fields(line))
	}
	return all
}

func TestJSON(t *testing.T) {
	_, client := newFake(t)
	report, err := read(t, client, "")
	if err != nil {
		t.Fatal(err)
	}
	got, err := json.MarshalIndent(report, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	const want = `{
 "datacenter": "dc1",
 "upstreams": [
  {
   "service": "web",
   "sidecars": [
    "n1/web-sidecar-proxy"
   ],
   "upstream": "db",
   "upstream_datacenter": "dc2",
   "targets": [
    {
     "service": "db",
     "datacenter": "dc2",
     "mode": "remote",
     "decided_by": "proxy-defaults",
     "entry": "global",
     "field": "MeshGateway",
     "through": "remote gateways",
     "addresses": [
      "203.0.113.1:443"
     ],
     "healthy": 1
    }
   ]
  }
 ],
 "warnings": []
}`
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Error(diff)
	}
}
