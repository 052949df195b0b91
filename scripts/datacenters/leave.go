package main

import (
	"fmt"
	"path/filepath"
	"strings"

	"sluice/scripts/show"
	"sluice/userspace/config"
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
			s.Say("     %s", command)
		}
		s.Say("")
	}
	return nil
}

// tries are what to try: what it is for, and its commands. Those that need what is
// not there, as the lab failed before, are left out.
func (s *site) tries() [][]string {
	in := func(ns string) string { return "ip netns exec " + s.lab.NS(ns).Full + " " }
	down := []string{"To remove it all:", "make lab-down"}
	if s.roots == nil || s.two.gateway == nil {
		return [][]string{{"A shell:", in("consul1") + "bash"}, down}
	}
	operator := func(dc *datacenter) string {
		env := append(dc.agent.Env(), "CONSUL_HTTP_TOKEN="+s.cluster.Token, "PATH="+s.lab.Dir+":$PATH")
		return in(dc.host) + "env " + strings.Join(env, " ") + " "
	}
	call := func(via string) string {
		return fmt.Sprintf(`(printf %q; sleep 1) | %s%s`, request, in("client"), strings.Join(s.openssl(via), " "))
	}
	host := func(dc *datacenter) string {
		env := append(settings(dc.gateway.Cmd.Args[2:]), "PATH="+filepath.Dir(s.sluice)+":"+s.lab.Dir+":$PATH")
		return in(strings.Replace(dc.host, "consul", "gateway", 1)) + "env " + strings.Join(env, " ") + " bash"
	}
	return [][]string{
		{"A shell on the host of each gateway, with that gateway's settings in its environment:",
			host(s.one), host(s.two)},
		{"In it, all about the gateway, while requests go through it or not:",
			"sluice status", "sluice routes", "sluice flows", "sluice top",
			"sluice explain api.default.dc2", "sluice explain api", "sluice explain apj.default.dc2",
			"sluice maps", "sluice maps routes", "sluice maps clusters -raw",
			"sluice check", "sluice modes", "sluice version"},
		{"Tell it something: a limit that outlives it, and back; end flows; all of it, but the maps:",
			"sluice policy '*.dc2.internal." + s.roots.TrustDomain + "' -limit=1", "sluice policy",
			"sluice policy '*.dc2.internal." + s.roots.TrustDomain + "' -clear",
			"sluice kill -source 10.0.0.0/8", "sluice reload", "sluice drain -wait"},
		{"Kill it in place of that, and ask again: its maps still answer. Then start it again:",
			fmt.Sprintf("kill -9 %d    # dc1's; %d is dc2's", s.one.gateway.Cmd.Process.Pid, s.two.gateway.Cmd.Process.Pid),
			"sluice status; sluice routes; sluice explain api.default.dc2; sluice maps; sluice policy", "sluice gateway &"},
		{"The same with Consul gone: it serves from its maps. Without the gateway, they can be removed:",
			fmt.Sprintf("kill -9 %d    # dc1's Consul; %d is dc2's", s.one.agent.PID(), s.two.agent.PID()), "sluice unload"},
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

// settings are flags as the environment has them, which every verb reads.
func settings(args []string) []string {
	var env []string
	for i, arg := range args {
		name, isFlag := strings.CutPrefix(arg, "-")
		if !isFlag {
			continue
		}
		value := "true" // of a flag without one
		if i+1 < len(args) && !strings.HasPrefix(args[i+1], "-") {
			value = args[i+1]
		}
		env = append(env, config.EnvName(name)+"="+value)
	}
	return env
}
