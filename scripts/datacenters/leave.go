package main

import (
	"fmt"
	"strings"

	"sluice/scripts/show"
)

// leave keeps the lab up and says what to try.
func (s *site) leave() error {
	if err := s.lab.Keep(); err != nil {
		return err
	}
	s.Step("It is still up. What to try, as root")
	for _, try := range s.tries() {
		s.Say("   %s\n", try[0])
		for _, command := range try[1:] {
			s.Say("     %s\n", command)
		}
	}
	return nil
}

// tries are what to try: what it is for, and its commands. Those that need what is
// not there, as the lab failed before, are left out.
func (s *site) tries() [][]string {
	in := func(ns string) string { return "ip netns exec " + s.lab.NS(ns).Full + " " }
	down := []string{"To remove it all:", "make lab-down"}
	if s.roots == nil || s.two.agent == nil {
		return [][]string{{"A shell:", in("consul1") + "bash"}, down}
	}
	operator := func(dc *datacenter) string {
		env := append(dc.agent.Env(), "CONSUL_HTTP_TOKEN="+s.cluster.Token, "PATH="+s.lab.Dir+":$PATH")
		return in(dc.host) + "env " + strings.Join(env, " ") + " "
	}
	call := func(via string) string {
		return fmt.Sprintf(`(printf %q; sleep 1) | %s%s`, request, in("client"), strings.Join(s.openssl(via), " "))
	}
	return [][]string{
		{"A shell beside each Consul, as its operator; try consul catalog services in it:",
			operator(s.one) + "bash", operator(s.two) + "bash"},
		{"A request through both gateways, and one through dc2's alone:",
			call(s.one.lan.String()), call(s.two.wan.String())},
		{"Which way the upstreams of dc1 go, and why:",
			in("gateway1") + s.sluice + " modes " + strings.Join(s.one.reach(), " ")},
		{"Take the service away; the next request is refused, with the reason in the log:",
			operator(s.two) + "consul services deregister -id api"},
		{"What the gateways say, and the tables that they keep on disk:",
			"tail -f " + s.file("gateway*.log"), "head " + s.file("gateway*/table")},
		{"Counters:",
			in("gateway1") + "curl -s " + show.MetricsBind + "/metrics"},
		down,
	}
}
