package loader

import (
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Safety is what is known of a kernel version.
type Safety uint8

// Distributions carry fixes into kernels of older numbers, so this is a guess,
// which an operator can overrule: whether the program can be loaded at all is
// probed, never guessed.
const (
	Safe  Safety = iota
	Doubt        // works, but fixes of sockmap are missing
	Risky        // plain churn of flows can crash it
)

// fixed lists, by series, the first versions with the fixes of sockmap that plain
// churn of flows needs, and those with all that are known of. Series between two
// of these ended before, those after the last had them from the start.
var fixed = []struct{ series, needed, all [3]int }{
	{series: [3]int{6, 1}, needed: [3]int{6, 1, 142}},
	{series: [3]int{6, 6}, needed: [3]int{6, 6, 94}, all: [3]int{6, 6, 142}},
	{series: [3]int{6, 12}, needed: [3]int{6, 12, 34}, all: [3]int{6, 12, 92}},
	{series: [3]int{6, 18}, needed: [3]int{6, 18, 0}, all: [3]int{6, 18, 34}},
}

// firstSafe is the first version whose series was never without what is needed.
var firstSafe = [3]int{6, 16, 0}

// CheckVersion tells what is known of a kernel release, as Release has it, and why.
func CheckVersion(release string) (Safety, string) {
	v, err := parseVersion(release)
	if err != nil {
		return Doubt, err.Error()
	}
	for _, f := range fixed {
		if v[0] != f.series[0] || v[1] != f.series[1] {
			continue
		}
		switch {
		case less(v, f.needed):
			return Risky, fmt.Sprintf("kernel %s lacks fixes of sockmap that %s has", release, dotted(f.needed))
		case f.all == [3]int{}:
			return Doubt, fmt.Sprintf("kernel %s lacks fixes of sockmap that series 6.6 and later have", release)
		case less(v, f.all):
			return Doubt, fmt.Sprintf("kernel %s lacks fixes of sockmap that %s has", release, dotted(f.all))
		}
		return Safe, ""
	}
	if less(v, firstSafe) {
		return Risky, fmt.Sprintf("the series of kernel %s ended without fixes of sockmap; %s has them", release, dotted(firstSafe))
	}
	if less(v, fixed[len(fixed)-1].series) {
		return Doubt, fmt.Sprintf("the series of kernel %s ended without fixes of sockmap that %s has", release, dotted(fixed[len(fixed)-1].all))
	}
	return Safe, ""
}

// Release is the running kernel's. Where the distribution's numbering hides which
// version of Linux it is of, that is in brackets: "6.1.0-40-amd64 (6.1.153)".
func Release() (string, error) {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return "", fmt.Errorf("ask for the kernel's release: %w", err)
	}
	// Ubuntu's own file; nobody else has it.
	signature, _ := os.ReadFile("/proc/version_signature")
	return describe(unix.ByteSliceToString(u.Release[:]), unix.ByteSliceToString(u.Version[:]), string(signature)), nil
}

// debianVersion is in what Debian has uname -v say: "#1 SMP PREEMPT_DYNAMIC Debian
// 6.1.153-1 (2025-09-20)".
var debianVersion = regexp.MustCompile(`\bDebian (\d+\.\d+\.\d+)`)

// describe makes a release of what uname and Ubuntu's signature, "Ubuntu
// 6.8.0-45.45-generic 6.8.12", say.
func describe(release, version, signature string) string {
	upstream := ""
	if m := debianVersion.FindStringSubmatch(version); m != nil {
		upstream = m[1]
	} else if f := strings.Fields(signature); len(f) == 3 && f[0] == "Ubuntu" {
		upstream = f[2]
	}
	if upstream == "" || strings.HasPrefix(release, upstream) {
		return release
	}
	return release + " (" + upstream + ")"
}

// parseVersion reads the leading numbers of a release such as "6.1.0-18-amd64".
func parseVersion(release string) ([3]int, error) {
	var v [3]int
	head, upstream, found := strings.Cut(release, " (")
	if found {
		head = strings.TrimSuffix(upstream, ")")
	}
	head, _, _ = strings.Cut(head, "-")
	head, _, _ = strings.Cut(head, "+")
	parts := strings.Split(head, ".")
	if len(parts) < 2 {
		return v, fmt.Errorf("kernel release %q has no version", release)
	}
	for i := range min(len(parts), 3) {
		n, err := strconv.Atoi(parts[i])
		if err != nil {
			return v, fmt.Errorf("kernel release %q has no version", release)
		}
		v[i] = n
	}
	return v, nil
}

func less(a, b [3]int) bool {
	for i := range a {
		if a[i] != b[i] {
			return a[i] < b[i]
		}
	}
	return false
}

func dotted(v [3]int) string { return fmt.Sprintf("%d.%d.%d", v[0], v[1], v[2]) }
