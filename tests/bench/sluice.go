package main

import (
	"fmt"
	"path/filepath"
	"strings"
)

// workers is how many threads each contender may use.
const workers = 2

// startSluice runs Sluice by one path. Local and direct are what auto does with
// acceleration, forced because the kernel may mislead peers that none of the bench's are like.
func startSluice(binary, path string) func(*place) error {
	acceleration := "off"
	switch path {
	case "local":
		path, acceleration = "auto", "force"
	case "direct":
		path, acceleration = "auto", "direct"
	}
	return func(p *place) error {
		var text strings.Builder
		for _, s := range services {
			fmt.Fprintf(&text, "route %q {\n  cluster = %q\n  path = %q\n}\ncluster %q {\n  endpoint %q {}\n}\n",
				s.name, s.name, path, s.name, p.to(s))
		}
		for _, name := range p.filler() {
			fmt.Fprintf(&text, "route %q {\n  cluster = %q\n}\n", name, plain.name)
		}
		routes, err := p.write(".hcl", text.String())
		if err != nil {
			return err
		}
		return p.run(binary, "gateway", "-listen", p.at.String(), "-routes", routes,
			"-workers", fmt.Sprint(workers), "-access-log", "off", "-admin-socket", "off",
			"-path", path, "-local-acceleration", acceleration, "-bpf-dir", filepath.Join(p.bpf, "sluice"), "-instance", p.name)
	}
}
