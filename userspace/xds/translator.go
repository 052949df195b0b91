package xds

import (
	"log/slog"
	"slices"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// maxWarnings bounds what a translator remembers to have said.
const maxWarnings = 1000

// translator turns resources into parts of the table. What it does not know it
// says once, however many resources have it.
type translator struct {
	log  *slog.Logger
	said map[string]bool
}

func newTranslator(log *slog.Logger) *translator {
	return &translator{log: log, said: map[string]bool{}}
}

// warn logs a message unless it has been logged before; the arguments are those of
// the first time.
func (t *translator) warn(message string, args ...any) { t.warnOnce(message, message, args...) }

func (t *translator) warnOnce(key, message string, args ...any) {
	if t.said[key] || len(t.said) >= maxWarnings {
		return
	}
	t.said[key] = true
	t.log.Warn("xds: "+message, args...)
}

// unsupported tells whether the message has fields other than those known, and
// warns of each by its name.
func (t *translator) unsupported(m proto.Message, in string, known ...string) bool {
	found := false
	m.ProtoReflect().Range(func(fd protoreflect.FieldDescriptor, _ protoreflect.Value) bool {
		if name := string(fd.Name()); !slices.Contains(known, name) {
			found = true
			t.warnOnce(string(fd.FullName()), "setting not known: left out", "setting", fd.FullName(), "first_in", in)
		}
		return true
	})
	return found
}
