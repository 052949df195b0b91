package main

import (
	"strings"

	"sluice/scripts/show"
)

// leave keeps the lab up and says what to try.
func (s *stage) leave() error {
	if err := s.lab.Keep(); err != nil {
		return err
	}
	in := func(ns string) string { return "ip netns exec " + s.lab.NS(ns).Full + " " }
	dir := s.lab.Dir + "/"
	s.Step("It is still up. What to try, as root")
	for _, try := range [][]string{
		{"A request:",
			in("client") + strings.Join(s.curl(s.dc1.listen[0], "https://"+s.api.SNI()+"/"), " ")},
		{"What the gateways log, while you try the rest:",
			"tail -f " + dir + "*.log"},
		{"A name that nobody knows:",
			in("client") + "openssl s_client -connect " + s.dc1.listen[0].String() + " -servername nobody." + s.ca.TrustDomain + " </dev/null"},
		{"Another table: take an endpoint out; the gateway reads the file again when it changes:",
			"sed -i /" + s.services[0].Addr().String() + "/d " + s.dc2.routes},
		{"A table with a mistake: the gateway says where, and keeps the one it has:",
			"echo nonsense >>" + s.dc2.routes},
		{"Counters:",
			in("dc2") + "curl -s " + show.MetricsBind + "/metrics"},
		{"To remove it all:",
			"make demo-down"},
	} {
		s.Say("   %s\n", try[0])
		s.Say("     %s\n", try[1])
	}
	return nil
}
