package main

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"os/exec"
	"strconv"
	"strings"

	"sluice/scripts/show"
)

// play shows one thing after the other. An error is something that is not as it
// should be.
func (s *stage) play(ctx context.Context) error {
	for _, act := range []func(context.Context) error{
		s.network, s.gateways, s.requests, s.twoHops, s.neighbour, s.bulkDownload,
		s.wrongNames, s.notTLS, s.counters,
	} {
		if err := act(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (s *stage) network(context.Context) error {
	s.Say("Sluice is a mesh gateway for Consul: it reads the server name in a connection's TLS")
	s.Say("hello, finds where that name leads, and passes the stream on. It never decrypts.")
	s.Step("A network: two datacenters, a client in one and a service in the other")
	server := s.lab.NS("server")
	s.Say("   client            dc1               dc2               server")
	s.Say("   curl ------------ gateway --------- gateway --------- nginx, 3 instances")
	s.Say("   %-17s %-17s %-17s %s to .13", s.lab.NS("client").Right.IPv4, s.lab.NS("dc1").Left.IPv4, s.lab.NS("dc2").Left.IPv4, server.Left.More[0])
	s.Say("")
	s.Say("   These are network namespaces (%s-client, ...), joined by veth pairs.", s.lab.ID)
	s.Say("   The service mesh has a CA, and names as Consul has them:")
	s.Say("")
	s.Say("     TD       %s, the trust domain", s.ca.TrustDomain)
	s.Say("     service  %s", s.Short(s.api.URI()))
	s.Say("     its SNI  %s", s.Short(s.api.SNI()))
	s.Say("     client   %s", s.Short(s.web.URI()))
	return nil
}

func (s *stage) gateways(ctx context.Context) error {
	s.Step("Two gateways, each with a table of server names")
	if err := s.startNginx(); err != nil {
		return err
	}
	for _, g := range []*gateway{s.dc1, s.dc2} {
		if err := g.Start(); err != nil {
			return err
		}
		s.Command(g.Name, g.Cmd.Args...)
		s.Quote(g.table)
	}
	for _, g := range []*gateway{s.dc1, s.dc2} {
		if err := g.Ready(ctx); err != nil {
			return err
		}
	}
	if err := s.servicesUp(ctx); err != nil {
		return err
	}
	s.Say("   Both say on /readyz that they listen and have a table. They have no keys and")
	s.Say("   no certificates: they read the name that a client asks for, and no more.")
	return nil
}

// servicesUp waits until nginx listens, asking it from dc2.
func (s *stage) servicesUp(ctx context.Context) error {
	for _, a := range s.services {
		err := show.Poll(ctx, func() (bool, error) {
			conn, err := s.dc2.NS.Dial(ctx, "tcp", a.String())
			if err == nil {
				conn.Close()
			}
			return err == nil, nil
		})
		if err != nil {
			return fmt.Errorf("nginx does not answer at %s: %w", a, err)
		}
	}
	return nil
}

// curl is the command of a client of the mesh that calls a URL through dc1's
// gateway.
func (s *stage) curl(via netip.AddrPort, url string, args ...string) []string {
	return append([]string{
		"curl", "-sS", "--max-time", "20",
		"--cacert", s.file("ca.pem"), "--cert", s.file("web.pem"), "--key", s.file("web-key.pem"),
		"--connect-to", "::" + via.String(), url,
	}, args...)
}

func (s *stage) client(ctx context.Context, args []string) (string, error) {
	return s.lab.NS("client").Output(ctx, args[0], args[1:]...)
}

// answer is what the server saw of a request.
type answer struct {
	server, verified, protocol, client string
}

// request calls the service once and checks that it saw the client's certificate.
func (s *stage) request(ctx context.Context, via netip.AddrPort) (answer, error) {
	out, err := s.client(ctx, s.curl(via, "https://"+s.api.SNI()+"/"))
	if err != nil {
		return answer{}, err
	}
	saw := map[string]string{}
	for _, line := range strings.Split(out, "\n") {
		key, value, _ := strings.Cut(line, "=")
		saw[key] = value
	}
	client, err := certURI(saw["client"])
	if err != nil {
		return answer{}, fmt.Errorf("the service did not see the client's certificate: %w", err)
	}
	a := answer{saw["server"], saw["verified"], saw["protocol"], client}
	if a.verified != "SUCCESS" || a.client != s.web.URI() || saw["name"] != s.api.SNI() {
		return a, fmt.Errorf("the service was asked for %q by %q (verified: %s), want %q and %q", saw["name"], a.client, a.verified, s.api.SNI(), s.web.URI())
	}
	return a, nil
}

// certURI is the SPIFFE URI in a certificate as nginx passes it on.
func certURI(escaped string) (string, error) {
	text, err := url.PathUnescape(escaped)
	if err != nil {
		return "", err
	}
	block, _ := pem.Decode([]byte(text))
	if block == nil {
		return "", errors.New("no PEM block")
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return "", err
	}
	if len(cert.URIs) != 1 {
		return "", fmt.Errorf("%d URIs in the certificate, want 1", len(cert.URIs))
	}
	return cert.URIs[0].String(), nil
}

func (s *stage) requests(ctx context.Context) error {
	s.Step("Requests arrive: mutual TLS from curl to nginx, through both gateways")
	s.Command("client", s.curl(s.dc1.listen[0], "https://"+s.api.SNI()+"/")...)
	servers := map[string]bool{}
	for i := range 6 {
		via := s.dc1.listen[i%2] // IPv4 and IPv6 in turn
		a, err := s.request(ctx, via)
		if err != nil {
			return err
		}
		if _, _, err := s.bothHops(ctx); err != nil {
			return err
		}
		servers[a.server] = true
		s.Say("   | via %-22s answered by %-16s %s, client %s", via, a.server, a.protocol, s.Short(a.client))
	}
	if len(servers) != len(s.services) {
		return fmt.Errorf("%d of %d instances of the service were used", len(servers), len(s.services))
	}
	s.Say("")
	s.Say("   curl verified the service's certificate and nginx the client's: the TLS goes")
	s.Say("   end to end. dc2's gateway took the three instances in turn.")
	return nil
}

// bothHops returns the next flow of each gateway's access log and checks that they
// carried the same bytes.
func (s *stage) bothHops(ctx context.Context) (hop1, hop2 *show.Flow, err error) {
	if hop1, err = s.dc1.Flow(ctx); err != nil {
		return nil, nil, err
	}
	if hop2, err = s.dc2.Flow(ctx); err != nil {
		return nil, nil, err
	}
	if hop1.Sent != hop2.Sent || hop1.Received != hop2.Received || hop1.Sent == 0 || hop1.Received == 0 {
		err = fmt.Errorf("the two hops of one connection differ in bytes:\n  dc1: %s\n  dc2: %s", hop1.Raw, hop2.Raw)
	}
	return hop1, hop2, err
}

func (s *stage) twoHops(ctx context.Context) error {
	s.Step("One request in the access logs of both gateways")
	if _, err := s.request(ctx, s.dc1.listen[0]); err != nil {
		return err
	}
	hop1, hop2, err := s.bothHops(ctx)
	if err != nil {
		return err
	}
	s.Say("   %-12s  %-44s  %s", "", "dc1", "dc2")
	for _, key := range []string{"source", "sni", "alpn", "route", "cluster", "endpoint", "path", "sent", "received", "hello_ms", "connect_ms", "duration_ms", "attempts", "reason"} {
		one, two := s.Field(hop1, key), s.Field(hop2, key)
		mark := ""
		if key == "sent" || key == "received" {
			mark = "  <- equal"
		}
		s.Say("   %-12s  %-44s  %s%s", key, one, two, mark)
	}
	s.Say("")
	s.Say("   What went into dc1's gateway came out of dc2's, to the byte, both ways.")
	return nil
}

// neighbour has a client on a gateway's own host: the kernel takes what it sends past its
// connection to the gateway. Where the kernel cannot, the flow goes another way.
func (s *stage) neighbour(ctx context.Context) error {
	s.Step("A client on dc1's own host, with -local-acceleration")
	args := s.curl(s.dc1.listen[0], "https://"+s.api.SNI()+"/", "-o", s.file("answer"))
	s.Command("dc1", args...)
	if _, err := s.dc1.NS.Output(ctx, args[0], args[1:]...); err != nil {
		return err
	}
	hop1, hop2, err := s.bothHops(ctx)
	if err != nil {
		return err
	}
	path := s.Field(hop1, "path")
	s.Say("   | %s's log: path=%s, source=%s; %s's log: path=%s", s.dc1.Name, path, s.Field(hop1, "source"), s.dc2.Name, s.Field(hop2, "path"))
	if path != "local" {
		s.Say("   This kernel does not have it: %s's log says why.", s.dc1.Name)
	}
	return nil
}

func (s *stage) bulkDownload(ctx context.Context) error {
	s.Step(fmt.Sprintf("A download of %d MiB", bulkSize>>20))
	args := s.curl(s.dc1.listen[0], "https://"+s.api.SNI()+"/bulk", "-w", "%{stderr}%{speed_download}")
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	hash := sha256.New()
	var speed strings.Builder
	cmd.Stdout, cmd.Stderr = hash, &speed
	if err := s.lab.NS("client").Run(cmd); err != nil {
		return fmt.Errorf("download: %w: %s", err, speed.String())
	}
	if [sha256.Size]byte(hash.Sum(nil)) != s.bulk {
		return errors.New("what was downloaded is not what was served: the hashes differ")
	}
	rate, err := strconv.ParseFloat(speed.String(), 64)
	if err != nil {
		return fmt.Errorf("curl's rate: %w", err)
	}
	hop1, hop2, err := s.bothHops(ctx)
	if err != nil {
		return err
	}
	s.Say("   SHA-256 %x...", s.bulk[:12])
	s.Say("   The same at the client as at the server. %.0f MB/s (%.1f Gbit/s), with TLS at both", rate/1e6, rate*8/1e9)
	s.Say("   ends on this machine too. Carried by dc1 (path %s): %d bytes, by dc2: %d.", s.Field(hop1, "path"), hop1.Received, hop2.Received)
	return nil
}
