package show

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"strings"
)

// Flow is what is read of a line of an access log in JSON.
type Flow struct {
	Raw      string
	Fields   map[string]any // all of it; numbers as written
	Msg      string
	SNI      string
	Endpoint string
	Reason   string
	Sent     uint64 // bytes from the client's side to the server's
	Received uint64
}

// ReadFlows returns the flows in an access log; a line not wholly written yet is
// left out, and a log that is not there yet has none.
func ReadFlows(path string) ([]*Flow, error) {
	text, err := os.ReadFile(path)
	if os.IsNotExist(err) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	var flows []*Flow
	for line := range bytes.Lines(text) {
		if !bytes.HasSuffix(line, []byte("\n")) {
			break
		}
		f := &Flow{Raw: strings.TrimSpace(string(line))}
		if err := json.Unmarshal(line, f); err != nil {
			return nil, fmt.Errorf("%s: %w: %s", path, err, line)
		}
		numbers := json.NewDecoder(bytes.NewReader(line))
		numbers.UseNumber()
		if err := numbers.Decode(&f.Fields); err != nil {
			return nil, fmt.Errorf("%s: %w: %s", path, err, line)
		}
		if f.Msg == "flow" {
			flows = append(flows, f)
		}
	}
	return flows, nil
}

// Field is a field of the line as it is shown: short, and "-" for none.
func (p *Printer) Field(f *Flow, key string) string {
	value, ok := f.Fields[key]
	if !ok {
		return "-"
	}
	return p.Short(fmt.Sprint(value))
}
