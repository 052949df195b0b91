// Package observability has what watches Sluice: alerts.yaml, rules for Prometheus,
// and dashboard.json, which Grafana 10 and later import as it is.
//
// Rules and panels go wrong in silence: one that asks for a metric or a label value
// that is gone is never true and draws nothing. So the tests scrape a real registry,
// and hold every name, label and value that is asked for against it. What rules mean is
// tested by promtool, with the scenarios in testdata: each names all alerts that fire at
// a time, and so the others are seen to be silent.
package observability
