package figure

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Run is all that one run of the benchmark found.
type Run struct {
	Begun      time.Time
	Mode       string // Full, Quick or Part
	Rounds     int
	Machine    Machine
	Contenders []Contender
	Workloads  []Workload
	Samples    []Sample
	Idle       []Idle
	Lookups    []Lookup
}

// The modes of a run. A part is what flags made smaller than a full or quick one.
const (
	Full  = "full"
	Quick = "quick"
	Part  = "part"
)

// Machine is what the figures were seen on.
type Machine struct {
	Kernel, CPU string
	Cores       int
	Memory      string
	Sysctls     map[string]string            // of the host
	Namespaces  map[string]map[string]string // those that each namespace has of its own
	Tools       map[string]string            // versions
}

// Role is a contender's part in comparisons.
type Role string

// The roles there are.
const (
	Limit  Role = "limit" // no proxy: what the network does alone
	Sluice Role = "sluice"
	Peer   Role = "peer"
)

// Contender is somebody who was measured.
type Contender struct {
	Name    string
	Role    Role
	Version string            `json:",omitempty"`
	Config  map[string]string `json:",omitempty"` // by layout: command lines and files
}

// Write puts the run into a file of its own, named after its beginning, and returns
// the file's path.
func (r *Run) Write(dir string) (string, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	text, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return "", fmt.Errorf("encode the results: %w", err)
	}
	path := filepath.Join(dir, r.Begun.UTC().Format("2006-01-02T150405Z")+".json")
	return path, os.WriteFile(path, append(text, '\n'), 0o644)
}

// Load reads a run from a file.
func Load(path string) (*Run, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	r := &Run{}
	if err := json.Unmarshal(text, r); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	for _, w := range r.Workloads {
		if err := w.valid(); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
	}
	return r, nil
}

// Newest reads the last run of a mode of those in a directory, and returns its path
// too. Files of older versions of the bench have no mode, and do not count.
func Newest(dir, mode string) (*Run, string, error) {
	paths, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil {
		return nil, "", err
	}
	slices.SortFunc(paths, func(a, b string) int { return strings.Compare(b, a) })
	for _, path := range paths {
		var head struct{ Mode string }
		text, err := os.ReadFile(path)
		if err != nil {
			return nil, "", err
		}
		if json.Unmarshal(text, &head) != nil || head.Mode != mode {
			continue
		}
		r, err := Load(path)
		return r, path, err
	}
	return nil, "", fmt.Errorf("%s: %w of mode %s", dir, ErrNone, mode)
}

// ErrNone is Newest's when there is no such run.
var ErrNone = errors.New("no results")
