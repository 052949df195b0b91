package main

import (
	"context"
	"flag"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/hashicorp/cli"
	"github.com/posener/complete"

	"sluice/userspace/admin"
	"sluice/userspace/gateway"
	"sluice/userspace/mirror"
	"sluice/userspace/registration"
)

// completing is a verb whose flags and arguments a shell completes. What the host has,
// routes and gateways, is looked up as the words before say.
type completing struct {
	cli.Command
	env  environment
	verb string
}

// flagsOf are the flags of a verb.
func flagsOf(verb string) *flag.FlagSet {
	switch verb {
	case "check":
		return new(checkSettings).flags()
	case "drain":
		return new(drainSettings).flags()
	case "explain":
		return new(explainSettings).flags()
	case "flows":
		return new(flowsSettings).flags()
	case "gateway":
		return new(settings).flags()
	case "kill":
		return new(killSettings).flags()
	case "maps":
		return new(mapsSettings).flags()
	case "modes":
		return new(modesSettings).flags()
	case "policy":
		return new(policySettings).flags()
	case "reload":
		fs, _ := new(reloadCommand).flags()
		return fs
	case "routes":
		return new(routesSettings).flags()
	case "status":
		return new(statusSettings).flags()
	case "top":
		return new(topSettings).flags()
	case "unload":
		fs, _ := new(unloadCommand).flags()
		return fs
	}
	return flag.NewFlagSet(verb, flag.ContinueOnError) // the others have none
}

// AutocompleteFlags has the flags, and what may stand behind each.
func (c completing) AutocompleteFlags() complete.Flags {
	all := complete.Flags{}
	flagsOf(c.verb).VisitAll(func(f *flag.Flag) { all["-"+f.Name] = c.value(f) })
	return all
}

// value completes the value of a flag.
func (c completing) value(f *flag.Flag) complete.Predictor {
	if b, ok := f.Value.(interface{ IsBoolFlag() bool }); ok && b.IsBoolFlag() {
		return complete.PredictNothing
	}
	ofGateway := c.verb == "gateway" || c.verb == "check"
	switch f.Name {
	case "format":
		return complete.PredictSet("table", "json")
	case "log-format":
		return complete.PredictSet("text", "json")
	case "log-level":
		return complete.PredictSet("debug", "info", "warn", "error")
	case "sort":
		return complete.PredictSet(admin.Columns()...)
	case "path":
		return complete.PredictSet(registration.Paths...)
	case "instance":
		return complete.PredictFunc(c.instances)
	case "route":
		return complete.PredictFunc(c.routes)
	case "source":
		if ofGateway {
			return complete.PredictSet("auto", "xds", "catalog")
		}
	}
	switch kind, _ := flag.UnquoteUsage(f); kind {
	case "file", "path":
		return complete.PredictFiles("*")
	case "directory":
		return complete.PredictDirs("*")
	}
	return complete.PredictAnything
}

// AutocompleteArgs completes what is no flag.
func (c completing) AutocompleteArgs() complete.Predictor {
	switch c.verb {
	case "explain", "policy", "routes":
		return complete.PredictFunc(c.routes)
	case "kill":
		return complete.PredictFunc(c.flows)
	case "completion":
		return complete.PredictSet("bash", "zsh", "fish")
	case "maps":
		return complete.PredictSet(mirror.MapNames()...)
	case "validate":
		return complete.PredictFiles("*")
	}
	return complete.PredictNothing
}

// reach is the gateway that the words before are about.
func (c completing) reach(a complete.Args) *reach {
	r := new(reach)
	fs := flag.NewFlagSet("", flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	r.register(fs)
	r.registerPins(fs)
	for i, word := range a.Completed {
		name, value, given := strings.Cut(strings.TrimLeft(word, "-"), "=")
		if f := fs.Lookup(name); f == nil || !strings.HasPrefix(word, "-") {
			continue
		}
		if !given && i+1 < len(a.Completed) {
			value = a.Completed[i+1]
		}
		_ = fs.Set(name, value) // a string takes anything
	}
	return r
}

func (c completing) instances(a complete.Args) []string {
	return instances(admin.Directory, c.reach(a).pins(c.env).dir)
}

// routes are those in the maps, which may be many: only the keys are read.
func (c completing) routes(a complete.Args) []string {
	table, err := openTable(c.reach(a).pins(c.env))
	if err != nil {
		return nil
	}
	defer table.Close()
	var names []string
	_ = table.Store().Routes.All(func(k *mirror.RouteKey, _ *mirror.RouteRecord) { // what can be read is enough
		if name := k.Route(); strings.HasPrefix(name, a.Last) {
			names = append(names, name)
		}
	})
	slices.Sort(names)
	return names
}

// flows are the numbers of those under way.
func (c completing) flows(a complete.Args) []string {
	client := c.reach(a).client(c.env)
	defer client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), agentTime)
	defer cancel()
	flows, err := client.Flows(ctx, gateway.Selection{}, admin.Order{Limit: 100})
	if err != nil {
		return nil
	}
	var ids []string
	for _, f := range flows {
		ids = append(ids, strconv.FormatUint(f.ID, 10))
	}
	return ids
}
