package consul

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
)

// Options say what agent to start. All but Host.Addr may be left out: then it is
// a server, alone in dc1, without ACLs and TLS.
type Options struct {
	Host
	Binary string // of consul; "": the one of Binary
	Dir    string // for the agent's files; "": a temporary one, removed by Stop

	Datacenter string // "": dc1
	Node       string // "": "srv-DATACENTER", or "cli-DATACENTER" if NoServer
	NoServer   bool   // a client agent
	Servers    int    // bootstrap_expect; 0: one
	RetryJoin  []string

	Primary         string   // primary_datacenter; "": none, or its own with ACLs
	RetryJoinWAN    []string // servers of other datacenters
	GatewayWAN      bool     // federate through mesh gateways; needs CA
	PrimaryGateways []string // host:port of those in the primary datacenter

	// Token switches ACLs on, with a default policy of deny. It is the initial
	// management token, a UUID, the same for the whole cluster.
	Token string

	// CA switches TLS on: HTTPS at port 8501, gRPC with TLS at 8503, and for what
	// agents say to each other.
	CA *CA

	HCL string // further configuration, which is stronger than all of the above

	// Outlive has the agent and its sidecars go on when this process ends without
	// a Stop: for a lab that is left up, in whose namespaces they end with it.
	Outlive bool
}

func (o Options) withDefaults() Options {
	if o.Datacenter == "" {
		o.Datacenter = "dc1"
	}
	if o.Node == "" && o.NoServer {
		o.Node = "cli-" + o.Datacenter
	} else if o.Node == "" {
		o.Node = "srv-" + o.Datacenter
	}
	if o.Servers == 0 {
		o.Servers = 1
	}
	return o
}

// object is one of JSON, which Consul reads as it reads HCL.
type object = map[string]any

// config is the agent's configuration, less what has to do with files.
func (o Options) config() object {
	c := object{
		"datacenter":           o.Datacenter,
		"node_name":            o.Node,
		"bind_addr":            o.Addr.String(),
		"client_addr":          o.Addr.String(),
		"retry_join":           o.RetryJoin,
		"retry_interval":       "1s",
		"disable_update_check": true,
		"connect":              object{"enabled": true},
		"ui_config":            object{"enabled": false},
	}
	if o.Primary != "" {
		c["primary_datacenter"] = o.Primary
	}
	if !o.NoServer {
		c["server"] = true
		c["bootstrap_expect"] = o.Servers
		c["performance"] = object{"raft_multiplier": 1} // elect within a second or two, not five
		c["retry_join_wan"] = o.RetryJoinWAN
		c["retry_interval_wan"] = "1s"
		c["primary_gateways"] = o.PrimaryGateways
		c["primary_gateways_interval"] = "1s"
	}
	if o.GatewayWAN {
		c["connect"] = object{"enabled": true, "enable_mesh_gateway_wan_federation": !o.NoServer}
	}
	ports := object{"dns": -1, "grpc": 8502}
	if o.CA != nil {
		ports["https"], ports["grpc_tls"] = 8501, 8503
	}
	c["ports"] = ports
	if o.Token != "" {
		c["acl"] = o.acl()
	}
	return c
}

// acl gives every agent the management token as its own. Servers of a secondary
// datacenter copy the primary's tokens with it.
func (o Options) acl() object {
	tokens := object{"initial_management": o.Token, "agent": o.Token}
	acl := object{"enabled": true, "default_policy": "deny", "tokens": tokens}
	if !o.NoServer && o.Primary != "" && o.Primary != o.Datacenter {
		acl["enable_token_replication"] = true
		tokens["replication"] = o.Token
	}
	return acl
}

// tls is the configuration of the certificate at those paths.
func tlsConfig(ca, cert, key string) object {
	return object{
		"defaults": object{"ca_file": ca, "cert_file": cert, "key_file": key, "verify_outgoing": true},
		"internal_rpc": object{
			"verify_incoming": true, "verify_outgoing": true, "verify_server_hostname": true,
		},
		// Clients show a token, not a certificate.
		"https": object{"verify_incoming": false},
		"grpc":  object{"verify_incoming": false},
	}
}

// writeConfig puts all that the agent reads into its directory.
func (o Options) writeConfig(dir string) error {
	c := o.config()
	c["data_dir"] = filepath.Join(dir, "data")
	confDir := filepath.Join(dir, "config")
	if err := os.MkdirAll(confDir, 0o755); err != nil {
		return err
	}
	if o.CA != nil {
		ca, err := o.CA.Write(dir)
		if err != nil {
			return err
		}
		role := "server"
		if o.NoServer {
			role = "client"
		}
		cert, key, err := o.CA.agent(dir, role, o.Datacenter, o.Node, o.Addr)
		if err != nil {
			return err
		}
		c["tls"] = tlsConfig(ca, cert, key)
	}
	text, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		return fmt.Errorf("encode the configuration: %w", err)
	}
	// Files are read in the order of their names, the later one the stronger.
	if err := os.WriteFile(filepath.Join(confDir, "10-agent.json"), text, 0o600); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(confDir, "20-more.hcl"), []byte(o.HCL), 0o600)
}

// port is the agent's address with that port.
func (h Host) port(n uint16) string {
	return netip.AddrPortFrom(h.Addr, n).String()
}
