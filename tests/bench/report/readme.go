package report

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"sluice/tests/bench/figure"
)

// The lines of a README between which the report is.
const (
	from = "<!-- make bench-report: what is from here -->"
	to   = "<!-- to here it writes anew -->"
)

// Write puts a run's report into the README, between its markers, and its pictures into
// the directory charts, in the place of those there.
func Write(r *figure.Run, readme, charts string) error {
	link, err := filepath.Rel(filepath.Dir(readme), charts)
	if err != nil {
		return fmt.Errorf("link from %s to %s: %w", readme, charts, err)
	}
	text, err := os.ReadFile(readme)
	if err != nil {
		return err
	}
	after, err := splice(string(text), markdown(r, filepath.ToSlash(link)))
	if err != nil {
		return fmt.Errorf("%s: %w", readme, err)
	}
	if err := writePictures(r, charts); err != nil {
		return err
	}
	return os.WriteFile(readme, []byte(after), 0o644)
}

// splice puts a part between the markers.
func splice(text, part string) (string, error) {
	before, rest, ok := strings.Cut(text, from+"\n")
	if !ok {
		return "", fmt.Errorf("no line %q", from)
	}
	_, after, ok := strings.Cut(rest, to)
	if !ok {
		return "", fmt.Errorf("no line %q after %q", to, from)
	}
	return before + from + "\n\n" + part + "\n" + to + after, nil
}

// writePictures leaves no picture there that is not one of this run's.
func writePictures(r *figure.Run, dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	old, err := filepath.Glob(filepath.Join(dir, "*.svg"))
	if err != nil {
		return err
	}
	for _, path := range old {
		if err := os.Remove(path); err != nil {
			return err
		}
	}
	for name, picture := range pictures(r) {
		if err := os.WriteFile(filepath.Join(dir, name), picture, 0o644); err != nil {
			return err
		}
	}
	return nil
}
