package vm

import (
	"regexp"
	"slices"
	"strings"
)

// complaint matches the first line of what the kernel says when it has found a fault
// of its own: at the start of the message, as words such as WARNING are in plain
// ones too. See "admin-guide/bug-hunting" in the kernel's documentation.
var complaint = regexp.MustCompile(`^(\[ *\d+\.\d+\] )?(BUG: |WARNING: |Oops: |Kernel panic|Internal error: |general protection fault|` +
	`KASAN: |UBSAN: |kernel BUG at |Unable to handle kernel|divide error: |stack segment: |invalid opcode: |` +
	`unregister_netdevice: waiting|INFO: task \S+ blocked for more than|(.{0,40}: )?page allocation failure)`)

// around is the most lines that are kept of each, the first one counted. Most end
// sooner, with what the kernel prints after a trace.
const (
	around   = 30
	endTrace = "---[ end trace "
)

// troubles finds the complaints on a console. One that comes within the lines of
// another belongs to that: an oops has several.
func troubles(console string) []string {
	lines := strings.Split(console, "\n")
	var found []string
	for i := 0; i < len(lines); i++ {
		if !complaint.MatchString(lines[i]) {
			continue
		}
		end := min(i+around, len(lines))
		last := func(line string) bool { return strings.Contains(line, endTrace) }
		if n := slices.IndexFunc(lines[i:end], last); n >= 0 {
			end = i + n + 1
		}
		found = append(found, strings.Join(lines[i:end], "\n"))
		i = end - 1
	}
	return found
}
