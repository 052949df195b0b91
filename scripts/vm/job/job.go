// Package job is what the runner and the guest of scripts/vm tell each other: the
// work, as a file in the guest's root, and how it went, as lines between those that
// the programs print.
package job

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
)

const (
	File   = "/job.json"  // where the guest finds its job
	Output = "/dev/ttyS1" // where the programs' output goes; the kernel has ttyS0
)

// Job is all that a guest does.
type Job struct {
	Modules  []string // kernel modules to load, as paths in the guest, in that order
	Programs []Program
}

// Program is one program to run, as root, after those before it have ended.
type Program struct {
	Name string   // for the report
	Argv []string // the first is the path of the program
	Env  []string // all of its environment, NAME=value
	Dir  string
}

// Load reads a job.
func Load(path string) (Job, error) {
	var j Job
	b, err := os.ReadFile(path)
	if err != nil {
		return j, fmt.Errorf("read the job: %w", err)
	}
	if err := json.Unmarshal(b, &j); err != nil {
		return j, fmt.Errorf("read the job %s: %w", path, err)
	}
	return j, nil
}

// Event is what the guest tells, one a line.
type Event struct {
	Kind   Kind
	Name   string // the program, of Begin and End
	Status int    // of End: the exit status, 128 + signal for one that a signal ended
	Text   string // of Problem
}

// Kind is the kind of an event.
type Kind string

const (
	Up      Kind = "up"      // the guest has set itself up
	Begin   Kind = "begin"   // a program starts
	End     Kind = "end"     // it has ended
	Problem Kind = "problem" // the guest cannot do its job
	Done    Kind = "done"    // nothing is left to do
)

// mark begins the lines that are events. No program prints the control character
// by chance.
const mark = "\x1esluice-vm "

// Line is the event as a line for the output.
func (e Event) Line() string {
	b, _ := json.Marshal(e) // strings and numbers only: cannot fail
	return mark + string(b) + "\n"
}

// Parse tells whether a line has an event. What stands before it is the end of what
// a program left without a newline, and is returned.
func Parse(line string) (before string, e Event, ok bool) {
	before, text, found := strings.Cut(line, mark)
	if !found || json.Unmarshal([]byte(text), &e) != nil {
		return line, Event{}, false
	}
	return before, e, true
}
