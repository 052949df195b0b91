package vm

import (
	"regexp"
	"strings"
)

// complaint matches the first line of what the kernel says when it has found a fault
// of its own: at the start of the message, as words such as WARNING are in plain
// ones too. See "admin-guide/bug-hunting" in the kernel's documentation.
var complaint = regexp.MustCompile(`^(\[ *\d+\.\d+\] )?(BUG: |WARNING: |Oops: |Kernel panic|Internal error: |general protection fault|` +
	`KASAN: |UBSAN: |kernel BUG at |Unable to handle kernel|divide error: |stack segment: |invalid opcode: |` +
	`unregister_netdevice: waiting|INFO: task \S+ blocked for more than|(.{0,40}: )?page allocation failure)`)

// around is how many lines are kept of each, the first one counted.
const around = 30

// troubles finds the complaints on a console. One that comes within the lines of
// another belongs to that.
func troubles(console string) []string {
	lines := strings.Split(console, "\n")
	var found []string
	for i := 0; i < len(lines); i++ {
		if !complaint.MatchString(lines[i]) {
			continue
		}
		end := min(i+around, len(lines))
		found = append(found, strings.Join(lines[i:end], "\n"))
		i = end - 1
	}
	return found
}
