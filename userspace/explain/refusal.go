package explain

import (
	"fmt"

	"sluice/userspace/flow"
	"sluice/userspace/route"
)

// Refusal is why a flow of the name is not served.
type Refusal struct {
	Reason  string `json:"reason"`  // such as "unknown_service"; stable, for programs
	Counted string `json:"counted"` // the flow.End that the gateway would count it as
	Text    string `json:"text"`    // the reason in full
	Do      string `json:"do"`      // what to do
}

// refusal is one of the reasons there are.
type refusal struct {
	reason string
	end    flow.End
	do     string
}

// The reasons, in the order in which a flow can meet them.
var (
	denied = refusal{"denied", flow.Denied,
		"change the gateway's -deny or -allow, if it is not meant"}
	limitSource = refusal{"limit_source", flow.LimitSource,
		"raise -max-flows-per-source, or see what it has: sluice flows -source CIDR"}

	noName = refusal{"no_name", flow.NoServerName,
		"give the name that clients send: Consul's sidecars send one, other clients have to be told to"}
	isPattern = refusal{"pattern", flow.BadHello,
		"give a name that the wildcard stands for; sluice routes takes patterns"}
	invalidName = refusal{"invalid_name", flow.BadHello,
		"give labels of letters, digits, \"-\" and \"_\", of at most 63 bytes each and 253 in all, with a dot between them"}
	noTable = refusal{"no_table", flow.NoTable,
		"wait if the gateway has just started; else look why its source has no table: sluice status"}
	staleTable = refusal{"stale_table", flow.NoTable,
		"bring the source back, which sluice status tells more of, or allow an older table"}
	limitFlows = refusal{"limit_flows", flow.LimitFlows,
		"raise -max-flows, add a gateway, or look who has so many: sluice flows -sort source"}

	unknownName = refusal{"unknown_name", flow.UnknownName,
		"look for the name among the routes: sluice routes"}
	notConsulName = refusal{"not_consul_name", flow.UnknownName,
		"send what Consul's sidecars send, SERVICE.NAMESPACE.DATACENTER.internal.TRUST-DOMAIN, or make a route for the name"}
	ambiguousName = refusal{"ambiguous_name", flow.UnknownName,
		"give one of these names in full"}
	unknownService = refusal{"unknown_service", flow.UnknownName,
		"register a sidecar for the service; if it has one, the gateway's token may lack service:read for it"}
	unknownSubset = refusal{"unknown_subset", flow.UnknownName,
		"name one of the subsets in the service's service-resolver, or add this one there"}
	unknownDatacenter = refusal{"unknown_datacenter", flow.UnknownName,
		"federate the datacenter, and register a mesh gateway there whose WAN address this one can reach"}
	unknownPartition = refusal{"unknown_partition", flow.UnknownName,
		"ask the mesh gateway of that partition"}
	otherDomain = refusal{"other_trust_domain", flow.UnknownName,
		"the caller belongs to another cluster: peer it with this one, or send it to its own cluster's gateway"}
	unknownPeer = refusal{"unknown_peer", flow.UnknownName,
		"establish the peering (consul peering list), and export the service to it"}
	notExported = refusal{"not_exported", flow.UnknownName,
		"add the service to this cluster's exported-services for the peer; it needs an instance with a sidecar, and the gateway's token mesh:read"}
	notImported = refusal{"not_imported", flow.UnknownName,
		"have the peer add the service to its exported-services for this cluster; the gateway's token needs peering:read"}
	preparedQuery = refusal{"prepared_query", flow.UnknownName,
		"reach what the query finds directly, or use a service-resolver in place of the query"}
	unknownServer = refusal{"unknown_server", flow.UnknownName,
		"see which servers there are: consul members -wan"}
	noFederation = refusal{"no_federation_through_gateways", flow.UnknownName,
		"switch on connect.enable_mesh_gateway_wan_federation on all servers, and have the gateway expose those here (-expose-servers)"}
	noPeering = refusal{"no_peering_through_gateways", flow.UnknownName,
		"set Peering.PeerThroughMeshGateways in the config entry of kind mesh"}

	mustTerminate = refusal{"needs_tls_termination", flow.RouteRefused,
		"set Protocol tcp in the service-defaults of the exported service, or leave this service to a gateway that decrypts"}
	byRoute = refusal{"refused_by_route", flow.RouteRefused,
		"change the route where it comes from, if it is not meant"}
	limitRoute = refusal{"limit_route", flow.LimitRoute,
		"raise the route's limit (sluice policy NAME -limit=...), or look who has so many flows: sluice flows -route NAME"}
	noEndpoints = refusal{"no_endpoint", flow.NoEndpoint,
		"register an instance with a sidecar"}
	unresolved = refusal{"unresolved", flow.NoEndpoint,
		"see that the gateway's host can resolve the names: getent ahosts HOST"}
	allCritical = refusal{"all_critical", flow.NoEndpoint,
		"mend the instances, or their checks: sidecars are critical when the sidecar's or the service's own check is"}
)

// refuse ends the explanation's flow, unless it has already ended.
func (x *explainer) refuse(r refusal, text string) {
	if x.e.Refusal == nil {
		x.e.Refusal = &Refusal{Reason: r.reason, Counted: r.end.String(), Text: text, Do: r.do}
	}
}

// routeRefuses is for a route that has no cluster.
func (x *explainer) routeRefuses(r *route.Route) {
	if r.Refuse == route.RefuseTerminated {
		x.refuse(mustTerminate, "Consul has its gateways decrypt http services that are exported to peers, and Sluice never decrypts")
		return
	}
	x.refuse(byRoute, fmt.Sprintf("the route says: %s", r.Refuse))
}
