// Package report shows a run to people: Text is for the terminal; Write puts tables of
// Markdown into the README, and pictures beside the bench.
package report
