package static

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/gohcl"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	hcljson "github.com/hashicorp/hcl/v2/json"

	"sluice/userspace/route"
)

const (
	// maxSize is above 500,000 routes with a cluster each; more is another file.
	maxSize = 256 << 20
	// maxDepth of brackets: the parsers recurse, and Go ends a process whose stack
	// grows too large.
	maxDepth = 1000
)

// Problems is all that is wrong with a file, a line each: "routes.hcl:12: no
// cluster is named \"api\"".
type Problems []string

func (p Problems) Error() string { return strings.Join(p, "\n") }

// Read returns what the file defines. The error is of the system, naming the
// file, or else Problems. Paths are the names that a route's path may have, beside
// "auto".
func Read(file string, paths ...string) ([]*route.Route, []*route.Cluster, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, nil, err // names the file
	}
	defer f.Close()
	src, err := io.ReadAll(io.LimitReader(f, maxSize+1))
	switch {
	case err != nil:
		return nil, nil, err
	case len(src) > maxSize:
		return nil, nil, fmt.Errorf("%s is larger than %d MiB", file, maxSize>>20)
	}
	return parse(file, src, paths)
}

// shape is the file by its grammar alone. Fields of hcl.Range are where the
// attribute of the same tag is, for messages.
type shape struct {
	Routes   []routeBlock   `hcl:"route,block"`
	Clusters []clusterBlock `hcl:"cluster,block"`
}

type routeBlock struct {
	Name     string  `hcl:"name,label"`
	Cluster  *string `hcl:"cluster,optional"`
	Refuse   *string `hcl:"refuse,optional"`
	MaxFlows *int    `hcl:"max_flows,optional"`
	Path     *string `hcl:"path,optional"`
	Credit   *int    `hcl:"credit,optional"`

	At         hcl.Range `hcl:",def_range"`
	ClusterAt  hcl.Range `hcl:"cluster,attr_range"`
	RefuseAt   hcl.Range `hcl:"refuse,attr_range"`
	MaxFlowsAt hcl.Range `hcl:"max_flows,attr_range"`
	PathAt     hcl.Range `hcl:"path,attr_range"`
	CreditAt   hcl.Range `hcl:"credit,attr_range"`
}

type clusterBlock struct {
	Name           string          `hcl:"name,label"`
	Policy         *string         `hcl:"policy,optional"`
	ConnectTimeout *string         `hcl:"connect_timeout,optional"`
	PanicThreshold *int            `hcl:"panic_threshold,optional"`
	SendProxy      *bool           `hcl:"send_proxy,optional"`
	DNS            *string         `hcl:"dns,optional"`
	Endpoints      []endpointBlock `hcl:"endpoint,block"`

	At               hcl.Range `hcl:",def_range"`
	PolicyAt         hcl.Range `hcl:"policy,attr_range"`
	ConnectTimeoutAt hcl.Range `hcl:"connect_timeout,attr_range"`
	PanicThresholdAt hcl.Range `hcl:"panic_threshold,attr_range"`
	DNSAt            hcl.Range `hcl:"dns,attr_range"`
}

type endpointBlock struct {
	Address string  `hcl:"address,label"`
	Weight  *int    `hcl:"weight,optional"`
	Health  *string `hcl:"health,optional"`

	At       hcl.Range `hcl:",def_range"`
	WeightAt hcl.Range `hcl:"weight,attr_range"`
	HealthAt hcl.Range `hcl:"health,attr_range"`
}

// parse stops after the first of three steps that finds something wrong, since
// what the next would say may only follow from that: syntax, grammar, sense.
func parse(file string, src []byte, paths []string) ([]*route.Route, []*route.Cluster, error) {
	if len(bytes.TrimSpace(src)) == 0 {
		// More likely cut off by a full disk or an editor than meant: a table
		// without routes can be had with a comment or with {}.
		return nil, nil, Problems{file + ":1: the file is empty"}
	}
	if line := tooDeep(src); line > 0 {
		return nil, nil, Problems{fmt.Sprintf("%s:%d: more than %d brackets are open", file, line, maxDepth)}
	}
	var f *hcl.File
	var diags hcl.Diagnostics
	if filepath.Ext(file) == ".json" {
		f, diags = hcljson.Parse(src, file)
	} else {
		f, diags = hclsyntax.ParseConfig(src, file, hcl.InitialPos)
	}
	if err := problems(file, diags); err != nil {
		return nil, nil, err
	}
	var s shape
	if err := problems(file, gohcl.DecodeBody(f.Body, nil, &s)); err != nil {
		return nil, nil, err
	}
	c := checker{paths: paths}
	routes, clusters := c.check(&s)
	return routes, clusters, problems(file, c.diags)
}

// tooDeep returns the line of a bracket more than maxDepth deep, or 0. It does
// not know strings and comments, which a file of that many brackets hardly has.
func tooDeep(src []byte) int {
	depth := 0
	for i, c := range src {
		switch c {
		case '{', '[', '(':
			if depth++; depth > maxDepth {
				return 1 + bytes.Count(src[:i], []byte{'\n'})
			}
		case '}', ']', ')':
			depth = max(0, depth-1)
		}
	}
	return 0
}

// problems lists the errors among the diagnostics by line; nil if there is none.
func problems(file string, diags hcl.Diagnostics) error {
	errs := slices.DeleteFunc(diags, func(d *hcl.Diagnostic) bool { return d.Severity != hcl.DiagError })
	if len(errs) == 0 {
		return nil
	}
	line := func(d *hcl.Diagnostic) int {
		if d.Subject == nil {
			return 1
		}
		return max(1, d.Subject.Start.Line)
	}
	slices.SortStableFunc(errs, func(a, b *hcl.Diagnostic) int { return cmp.Compare(line(a), line(b)) })
	var p Problems
	for _, d := range errs {
		what := d.Summary
		if d.Detail != "" {
			what += ": " + strings.Join(strings.Fields(d.Detail), " ")
		}
		p = append(p, fmt.Sprintf("%s:%d: %s", file, line(d), what))
	}
	return slices.Compact(p)
}

// split returns the lines of an error that parse or the system gave.
func split(err error) []string {
	if p, ok := errors.AsType[Problems](err); ok {
		return p
	}
	return []string{err.Error()}
}
