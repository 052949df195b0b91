package loader

import (
	"path/filepath"
	"strings"
	"testing"
)

func TestProbe(t *testing.T) {
	root := bpffs(t)
	found := Probe(root)
	if err := Missing(found); err != nil {
		t.Error(err)
	}
	if len(found) < 10 {
		t.Errorf("probes only %v", found)
	}
	err := Missing(Probe(filepath.Join(t.TempDir(), "sluice")))
	if err == nil || !strings.Contains(err.Error(), "mount -t bpf") {
		t.Errorf("without a BPF file system: %v", err)
	}
}

func TestDescribeRelease(t *testing.T) {
	for _, c := range []struct{ release, version, signature, want string }{
		{"6.1.0-40-cloud-amd64", "#1 SMP PREEMPT_DYNAMIC Debian 6.1.153-1 (2025-09-20)", "", "6.1.0-40-cloud-amd64 (6.1.153)"},
		{"6.12.117+deb13-cloud-amd64", "#1 SMP PREEMPT_DYNAMIC Debian 6.12.117-1 (2026-10-01)", "", "6.12.117+deb13-cloud-amd64"},
		{"6.8.0-45-generic", "#45-Ubuntu SMP PREEMPT_DYNAMIC", "Ubuntu 6.8.0-45.45-generic 6.8.12\n", "6.8.0-45-generic (6.8.12)"},
		{"6.18.44-fc-v669", "#1 SMP", "", "6.18.44-fc-v669"},
		{"6.1.0-40", "Debian 6.1", "Ubuntu", "6.1.0-40"},
	} {
		if got := describe(c.release, c.version, c.signature); got != c.want {
			t.Errorf("%s, %s: %q, want %q", c.release, c.version, got, c.want)
		}
	}
}

func TestCheckVersion(t *testing.T) {
	for release, want := range map[string]Safety{
		"5.15.0-100-generic":        Risky,
		"6.0.19":                    Risky,
		"6.1.0-18-amd64":            Risky,
		"6.1.0-37-amd64 (6.1.140)":  Risky,
		"6.1.0-56-amd64 (6.1.170)":  Doubt,
		"6.8.0-45-generic (6.8.12)": Risky,
		"6.1.141":                   Risky,
		"6.1.142":                   Doubt,
		"6.1.170":                   Doubt,
		"6.2.16":                    Risky,
		"6.6.93":                    Risky,
		"6.6.94":                    Doubt,
		"6.6.141":                   Doubt,
		"6.6.142":                   Safe,
		"6.11.11":                   Risky,
		"6.12.33+deb13-amd64":       Risky,
		"6.12.34":                   Doubt,
		"6.12.91":                   Doubt,
		"6.12.92":                   Safe,
		"6.15.11":                   Risky,
		"6.16.0-rc1":                Doubt,
		"6.16":                      Doubt,
		"6.17.13":                   Doubt,
		"6.18":                      Doubt,
		"6.18.33":                   Doubt,
		"6.18.34":                   Safe,
		"6.18.44-fc-v669":           Safe,
		"6.19.1":                    Safe,
		"7.0.0":                     Safe,
		"":                          Doubt,
		"nonsense":                  Doubt,
		"6.x":                       Doubt,
	} {
		got, why := CheckVersion(release)
		if got != want || (why == "") != (got == Safe) {
			t.Errorf("%q: %d %q, want %d", release, got, why, want)
		}
	}
	release, err := Release()
	if err != nil || release == "" {
		t.Errorf("release %q, %v", release, err)
	}
}
