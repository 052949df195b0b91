package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"

	"sluice/scripts/show"
)

func (s *stage) wrongNames(ctx context.Context) error {
	s.Step("A wrong name gets TLS's own answer, and a line in the log")
	s.Say("   No datacenter of that name, so dc1's gateway has no route:")
	s.Say("")
	name := "api.default.dc9.internal." + s.ca.TrustDomain
	out, err := s.refused(ctx, "openssl", "s_client", "-connect", s.dc1.listen[0].String(), "-servername", name)
	if err != nil {
		return err
	}
	if err := s.alert(out, "unrecognized name"); err != nil {
		return err
	}
	if err := s.logged(ctx, s.dc1, name, "unknown_name"); err != nil {
		return err
	}

	s.Say("")
	s.Say("   No service of that name in dc2, which dc2's gateway knows; its answer passes dc1's:")
	s.Say("")
	name = "nope.default.dc2.internal." + s.ca.TrustDomain
	out, err = s.refused(ctx, s.curl(s.dc1.listen[0], "https://"+name+"/")...)
	if err != nil {
		return err
	}
	if err := s.alert(out, "unrecognized name"); err != nil {
		return err
	}
	if err := s.logged(ctx, s.dc2, name, "unknown_name"); err != nil {
		return err
	}
	_, err = s.dc1.Flow(ctx) // an ordinary flow to dc1, whatever its end
	return err
}

func (s *stage) notTLS(ctx context.Context) error {
	s.Step("What is not TLS is closed")
	out, err := s.refused(ctx, "curl", "-sS", "--max-time", "20", "http://"+s.dc1.listen[0].String()+"/")
	if err != nil {
		return err
	}
	s.Quote(out)
	return s.logged(ctx, s.dc1, "", "not_tls")
}

// refused runs a command in the client's namespace that must fail, and returns
// what it said.
func (s *stage) refused(ctx context.Context, args ...string) (string, error) {
	s.Command("client", args...)
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	var said strings.Builder
	cmd.Stdout, cmd.Stderr = &said, &said
	err := s.lab.NS("client").Run(cmd)
	var exit *exec.ExitError
	switch {
	case err == nil:
		return "", fmt.Errorf("%s was served, want a refusal: %s", args[0], said.String())
	case ctx.Err() != nil:
		return "", ctx.Err()
	case !errors.As(err, &exit):
		return "", err
	}
	return said.String(), nil
}

// alert shows the line that tells of the TLS alert.
func (s *stage) alert(said, want string) error {
	for _, line := range strings.Split(said, "\n") {
		if strings.Contains(line, want) {
			s.Quote(line)
			return nil
		}
	}
	return fmt.Errorf("no %q among what the client said: %s", want, said)
}

// logged shows the gateway's next flow and checks why it ended.
func (s *stage) logged(ctx context.Context, g *gateway, sni, reason string) error {
	f, err := g.Flow(ctx)
	if err != nil {
		return err
	}
	if f.SNI != sni || f.Reason != reason {
		return fmt.Errorf("%s's gateway logged the name %q and the reason %q, want %q and %q: %s", g.Name, f.SNI, f.Reason, sni, reason, f.Raw)
	}
	s.Say("   %s's access log:", g.Name)
	s.Quote(f.Raw)
	return nil
}

func (s *stage) counters(ctx context.Context) error {
	s.Step("Counters, as Prometheus reads them")
	s.Command("dc1", "curl", "-s", show.MetricsBind+"/metrics")
	text, err := s.dc1.Get(ctx, "/metrics")
	if err != nil {
		return err
	}
	var lines []string
	for _, line := range strings.Split(text, "\n") {
		if counts(line) {
			lines = append(lines, line)
		}
	}
	if len(lines) == 0 {
		return errors.New("no counter of Sluice's in /metrics is above 0")
	}
	s.Quote(strings.Join(lines, "\n"))
	return nil
}

// counts tells whether a line of /metrics is a counter of Sluice's and above 0.
func counts(line string) bool {
	name, value, _ := strings.Cut(line, " ")
	name, _, _ = strings.Cut(name, "{")
	return strings.HasPrefix(name, "sluice_") && strings.HasSuffix(name, "_total") && value != "0"
}
