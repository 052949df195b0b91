package main

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
)

// workers is how many threads each contender may use.
const workers = 2

// startSluice runs Sluice by one path.
func startSluice(binary, path string) func(*site, netip.AddrPort) (*exec.Cmd, error) {
	return func(s *site, at netip.AddrPort) (*exec.Cmd, error) {
		routes := filepath.Join(s.Dir, "sluice-"+path+".hcl")
		text := ""
		for name, port := range map[string]uint16{serverName: serverPort, secureName: securePort} {
			text += fmt.Sprintf("route %q {\n  cluster = %q\n  path = %q\n}\ncluster %q {\n  endpoint %q {}\n}\n",
				name, name, path, name, s.upstream(port))
		}
		if err := os.WriteFile(routes, []byte(text), 0o600); err != nil {
			return nil, err
		}
		return s.daemon(binary, "gateway", "-listen", at.String(), "-routes", routes,
			"-workers", fmt.Sprint(workers), "-access-log", "off", "-admin-socket", "off",
			"-path", path, "-bpf-dir", filepath.Join(s.bpf, "sluice"), "-instance", path)
	}
}

func createFile(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
}
