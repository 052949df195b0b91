package doctor

import "fmt"

// Level is how bad a line is.
type Level uint8

// The levels, the best first.
const (
	OK Level = iota
	Warn
	Fail
)

var levelNames = [...]string{OK: "ok", Warn: "warn", Fail: "fail"}

func (l Level) String() string {
	if int(l) < len(levelNames) {
		return levelNames[l]
	}
	return fmt.Sprintf("Level(%d)", l)
}

// MarshalText has JSON say "ok", "warn" or "fail".
func (l Level) MarshalText() ([]byte, error) { return []byte(l.String()), nil }

// Line is what was found about one thing.
type Line struct {
	Area   string `json:"area"` // such as "kernel" or "consul"
	Name   string `json:"name"` // of the thing, unique within its area
	Level  Level  `json:"level"`
	Found  string `json:"found"`
	Remedy string `json:"remedy,omitempty"` // a command or a setting; empty if all is well
}

// Report is the lines of all checks, in the order of the checks.
type Report struct {
	Lines []Line `json:"lines"`
	OK    int    `json:"ok"` // lines of this level
	Warn  int    `json:"warn"`
	Fail  int    `json:"fail"`
}

func (r *Report) add(lines ...Line) {
	for _, l := range lines {
		switch l.Level {
		case OK:
			r.OK++
		case Warn:
			r.Warn++
		default:
			r.Fail++
		}
		r.Lines = append(r.Lines, l)
	}
}

// Good makes a line in which all is well.
func Good(name, found string, args ...any) Line {
	return Line{Name: name, Found: fmt.Sprintf(found, args...)}
}

// Bad makes a line of a level, and without the remedy if that is OK.
func Bad(level Level, name, remedy, found string, args ...any) Line {
	l := Line{Name: name, Level: level, Found: fmt.Sprintf(found, args...), Remedy: remedy}
	if level == OK {
		l.Remedy = ""
	}
	return l
}
