package vm

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// Report is what a test binary that ran with -test.v=test2json said of its tests.
// Subtests count as tests.
type Report struct {
	Passed, Failed, Skipped []string
}

// Verbose is the flag that makes a test binary say it in the way that Report reads:
// with a character before each such line that tells it from what tests print.
const Verbose = "-test.v=test2json"

const mark = "\x16"

var verdict = regexp.MustCompile(`^ *--- (PASS|FAIL|SKIP): (\S+) \(`)

// Line takes one line. It tells whether a person would want to see it, and how.
func (r *Report) Line(text string) (show string, ok bool) {
	if i := strings.LastIndex(text, mark); i >= 0 {
		text = text[i+len(mark):]
		if strings.HasPrefix(text, "=== ") {
			return "", false
		}
	}
	m := verdict.FindStringSubmatch(text)
	if m == nil {
		return text, true
	}
	switch m[1] {
	case "PASS":
		r.Passed = append(r.Passed, m[2])
		return text, !strings.Contains(m[2], "/")
	case "FAIL":
		r.Failed = append(r.Failed, m[2])
	case "SKIP":
		r.Skipped = append(r.Skipped, m[2])
	}
	return text, true
}

// Check judges a test binary by its exit status and its report. A test that was
// skipped counts as failed, but for those named in may: what a kernel is known to
// have must be found there. So do tests of which none ran.
func (r *Report) Check(status int, may []string) error {
	var wrong []string
	if status != 0 {
		wrong = append(wrong, fmt.Sprintf("it ended with status %d", status))
	}
	if len(r.Failed) > 0 {
		wrong = append(wrong, "failed: "+list(r.Failed))
	}
	var skipped []string
	for _, name := range r.Skipped {
		if !slices.Contains(may, name) {
			skipped = append(skipped, name)
		}
	}
	if len(skipped) > 0 {
		wrong = append(wrong, "skipped, and must not be: "+list(skipped))
	}
	if len(r.Passed) == 0 {
		wrong = append(wrong, "no test passed")
	}
	if len(wrong) > 0 {
		return fmt.Errorf("%s", strings.Join(wrong, "; "))
	}
	return nil
}

// list names some, and the number of those that it leaves out.
func list(names []string) string {
	const most = 8
	if len(names) <= most {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
}
