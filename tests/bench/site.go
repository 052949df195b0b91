package main

import (
	"context"
	"fmt"
	"net/netip"

	"sluice/scripts/lab"
	"sluice/tests/bench/figure"
)

var ctxBackground = context.Background()

// service is something that the server's namespace offers, and its server name.
type service struct {
	name string
	port uint16
}

var (
	plain  = service{"web.default.dc1.internal.bench.consul", 9000}   // bytes after a hello
	secure = service{"tls.default.dc1.internal.bench.consul", 9001}   // TLS, by Go
	https  = service{"www.default.dc1.internal.bench.consul", 9002}   // TLS, by nginx
	iperf  = service{"iperf.default.dc1.internal.bench.consul", 9003} // iperf3's server
)

// services are all of them: the routes of every contender.
var services = []service{plain, secure, https, iperf}

// of is the service that a kind of workload is for.
func of(k figure.Kind) service {
	switch k {
	case figure.Handshake:
		return secure
	case figure.Requests, figure.Connections:
		return https
	case figure.Iperf:
		return iperf
	default:
		return plain
	}
}

// site is a layout as it stands: where contenders are measured.
type site struct {
	*lab.Lab
	layout         string
	client, server *lab.Namespace
	gateways       []*lab.Namespace // from the client's side to the server's
	bpf            string           // where a BPF file system is mounted
	taken          uint16           // ports given to contenders
}

// chains are the namespaces of each layout.
var chains = map[string][]string{
	figure.OneHop:  {"client", "gateway", "server"},
	figure.TwoHops: {"client", "dc1", "dc2", "server"},
	figure.Local:   {"host"},

	figure.ClientHere: {"host", "server"},
	figure.ServerHere: {"client", "host"},
}

// sysctls are set in each namespace: new connections by the ten thousand from one
// address to another must not run out of ports. Contenders and services have lower ones.
var sysctls = [][2]string{
	{"net.ipv4.ip_local_port_range", "10000 65535"},
	{"net.ipv4.tcp_tw_reuse", "1"},
}

// newSite builds the lab and starts the server.
func newSite(layout string) (*site, error) {
	l, err := lab.New("sluice-bench", lab.Options{Chain: chains[layout]})
	if err != nil {
		return nil, err
	}
	all := l.Namespaces
	s := &site{Lab: l, layout: layout, client: all[0], server: all[len(all)-1], gateways: all}
	switch layout {
	case figure.Local:
	case figure.ClientHere:
		s.gateways = all[:1]
	case figure.ServerHere:
		s.gateways = all[1:]
	default:
		s.gateways = all[1 : len(all)-1]
	}
	if err := s.furnish(); err != nil {
		s.Close()
		return nil, fmt.Errorf("%s: %w", layout, err)
	}
	return s, nil
}

func (s *site) furnish() error {
	var err error
	if s.bpf, err = s.BPF(); err != nil {
		return err
	}
	for _, ns := range s.Namespaces {
		for _, kv := range sysctls {
			if err := ns.Sysctl(kv[0], kv[1]); err != nil {
				return err
			}
		}
	}
	_, err = start(s.server, "server", s.serves(plain).String(), s.serves(secure).String())
	return err
}

// serves is where a service listens.
func (s *site) serves(to service) netip.AddrPort {
	return netip.AddrPortFrom(address(s.server), to.port)
}

// address is the one that those to the left of a namespace know it by.
func address(ns *lab.Namespace) netip.Addr {
	if ns.Left == nil {
		return netip.AddrFrom4([4]byte{127, 0, 0, 1})
	}
	return ns.Left.IPv4
}
