// Package config gives every flag of a command two more places to be set: an
// environment variable, SLUICE_HELLO_TIMEOUT for -hello-timeout, and a file in
// HCL or JSON, hello_timeout = "5s". A flag given wins over the environment,
// the environment over the file, the file over the default.
//
// The flag's own parser reads all of them, so a value means the same in each
// place, and a bad one is refused with the place it stands at.
package config

import (
	"errors"
	"flag"
	"fmt"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclparse"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"
)

// EnvName is the environment variable of a flag.
func EnvName(flagName string) string {
	return "SLUICE_" + strings.ToUpper(strings.ReplaceAll(flagName, "-", "_"))
}

// Fill sets the flags of fs that were not given on the command line, from
// the environment (lookup is os.LookupEnv) and then from the file named path,
// "" for none. An empty variable is as good as none. fs must have been parsed.
func Fill(fs *flag.FlagSet, lookup func(string) (string, bool), path string) error {
	done := make(map[string]bool)
	fs.Visit(func(f *flag.Flag) { done[f.Name] = true })
	var errs []error
	fs.VisitAll(func(f *flag.Flag) {
		value, ok := lookup(EnvName(f.Name))
		if !ok || value == "" || done[f.Name] {
			return
		}
		done[f.Name] = true
		if err := f.Value.Set(value); err != nil {
			errs = append(errs, fmt.Errorf("environment variable %s: invalid value %q: %w", EnvName(f.Name), value, err))
		}
	})
	if path != "" {
		errs = append(errs, fillFromFile(fs, done, path))
	}
	return errors.Join(errs...)
}

func fillFromFile(fs *flag.FlagSet, done map[string]bool, path string) error {
	body, diags := parse(path)
	if diags.HasErrors() {
		return problems(diags)
	}
	attrs, diags := body.JustAttributes()
	for key, attr := range attrs {
		f := fs.Lookup(strings.ReplaceAll(key, "_", "-"))
		if f == nil || key != strings.ReplaceAll(f.Name, "-", "_") || f.Name == "config" {
			diags = append(diags, problem(attr, "unknown setting "+key))
			continue
		}
		value, err := text(attr)
		if err != nil {
			diags = append(diags, problem(attr, fmt.Sprintf("%s: %s", key, err)))
			continue
		}
		if done[f.Name] {
			continue
		}
		if err := f.Value.Set(value); err != nil {
			diags = append(diags, problem(attr, fmt.Sprintf("invalid value %q for %s: %s", value, key, err)))
		}
	}
	return problems(diags)
}

func parse(path string) (hcl.Body, hcl.Diagnostics) {
	parser := hclparse.NewParser()
	var file *hcl.File
	var diags hcl.Diagnostics
	if strings.HasSuffix(path, ".json") {
		file, diags = parser.ParseJSONFile(path)
	} else {
		file, diags = parser.ParseHCLFile(path)
	}
	if diags.HasErrors() {
		return nil, diags
	}
	return file.Body, nil
}

// text is an attribute's value as it would stand on the command line: lists are
// joined by commas.
func text(attr *hcl.Attribute) (string, error) {
	value, diags := attr.Expr.Value(nil)
	if diags.HasErrors() {
		return "", errors.New(diags[0].Detail)
	}
	if !value.IsWhollyKnown() || value.IsNull() {
		return "", errors.New("has no value")
	}
	if !value.Type().IsTupleType() {
		return scalar(value)
	}
	var parts []string
	for _, item := range value.AsValueSlice() {
		s, err := scalar(item)
		if err != nil {
			return "", err
		}
		parts = append(parts, s)
	}
	return strings.Join(parts, ","), nil
}

func scalar(value cty.Value) (string, error) {
	s, err := convert.Convert(value, cty.String)
	if err != nil || s.IsNull() {
		return "", errors.New("must be a string, a number, true or false, or a list of these")
	}
	return s.AsString(), nil
}

func problem(attr *hcl.Attribute, what string) *hcl.Diagnostic {
	return &hcl.Diagnostic{Severity: hcl.DiagError, Summary: what, Subject: &attr.Range}
}

// problems is the errors among diags as one, a line each: "file:line: what", in
// the order of the file.
func problems(diags hcl.Diagnostics) error {
	slices.SortStableFunc(diags, func(a, b *hcl.Diagnostic) int { return offset(a) - offset(b) })
	var errs []error
	for _, d := range diags {
		if d.Severity != hcl.DiagError {
			continue
		}
		what := d.Summary
		if d.Detail != "" {
			what += ": " + d.Detail
		}
		what, _, _ = strings.Cut(what, "\n") // what follows is advice about HCL
		if d.Subject != nil {
			what = fmt.Sprintf("%s:%d: %s", d.Subject.Filename, d.Subject.Start.Line, what)
		}
		errs = append(errs, errors.New(what))
	}
	return errors.Join(errs...)
}

// offset is where in its file a problem stands: before all for the file itself.
func offset(d *hcl.Diagnostic) int {
	if d.Subject == nil {
		return -1
	}
	return d.Subject.Start.Byte
}
