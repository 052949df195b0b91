package doctor

import (
	"context"
	"strings"

	"sluice/userspace/route"
	"sluice/userspace/static"
)

// RoutesCheck reads the file of routes as a gateway would whose paths have these names.
func RoutesCheck(file string, paths ...string) Check {
	return Check{Area: "routes", Name: file, Run: func(context.Context) []Line {
		remedy := "mend the file; sluice validate " + file + " reads it too"
		routes, clusters, err := static.Read(file, paths...)
		if err != nil {
			return []Line{Bad(Fail, "", remedy, "%s", oneLine(err))}
		}
		table, err := route.Replace(nil, file, routes, clusters)
		if err != nil {
			return []Line{Bad(Fail, "", remedy, "%s", oneLine(err))}
		}
		if n, _ := table.Len(); n == 0 {
			return []Line{Bad(Warn, "", remedy, "it has no route: every flow is refused")}
		}
		return []Line{Good("", "%s", table)}
	}}
}

// oneLine is the text of several errors in one line.
func oneLine(err error) string { return strings.ReplaceAll(err.Error(), "\n", "; ") }
