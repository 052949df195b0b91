package client

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	// maxToken bounds a token in bytes, and is a surprise for a file named by mistake.
	// Consul's own have 36, JWTs of login methods are not sent with each request.
	maxToken = 8 << 10

	// young is the age below which a file may change again without looking different:
	// some filesystems count whole seconds.
	young = 2 * time.Second
)

// token is an ACL token, of a file if path is not empty.
type token struct {
	path string

	mu    sync.Mutex
	value string
	seen  stamp // of the file that value was read from; zero: read it anyhow
}

// stamp is what a file looks like from outside. Another one means that it changed.
type stamp struct {
	device, inode uint64
	size          int64
	changed       time.Time
}

func stampOf(info os.FileInfo) stamp {
	s := stamp{size: info.Size(), changed: info.ModTime()}
	if sys, ok := info.Sys().(*syscall.Stat_t); ok {
		s.device, s.inode = sys.Dev, sys.Ino
	}
	return s
}

// newToken reads the file if there is one. The value counts if there is none, and
// if it is empty (as NewClient of api/api.go in Consul's source has it).
func newToken(value, path string) (*token, error) {
	if err := checkToken(value); err != nil {
		return nil, fmt.Errorf("token: %w", err)
	}
	t := &token{path: path, value: value}
	if path == "" {
		return t, nil
	}
	if err := t.read(); err != nil && !errors.Is(err, errEmpty) {
		return nil, fmt.Errorf("token-file %s: %w", path, err)
	}
	return t, nil
}

// current is the token as the file has it now. With an error it is the last good
// one.
func (t *token) current() (string, error) {
	if t.path == "" {
		return t.value, nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	info, err := os.Stat(t.path)
	if err == nil && stampOf(info) != t.seen {
		err = t.read()
	}
	if err != nil {
		err = fmt.Errorf("token-file %s: %w", t.path, cause(err))
	}
	return t.value, err
}

var errEmpty = errors.New("is empty")

// read reads the file. Upon an error the value stays.
func (t *token) read() error {
	// A FIFO must not keep us waiting for its writer.
	f, err := os.OpenFile(t.path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return cause(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return cause(err)
	}
	if !info.Mode().IsRegular() {
		return errors.New("is not a regular file")
	}
	text, err := io.ReadAll(io.LimitReader(f, maxToken+1))
	if err != nil {
		return cause(err)
	}
	value := strings.TrimSpace(string(text))
	if value == "" {
		return errEmpty
	}
	if err := checkToken(value); err != nil {
		return err
	}
	t.value, t.seen = value, stamp{}
	if time.Since(info.ModTime()) > young {
		t.seen = stampOf(info)
	}
	return nil
}

// checkToken refuses what cannot be in the header of a request.
func checkToken(value string) error {
	if len(value) > maxToken {
		return fmt.Errorf("is longer than %d bytes", maxToken)
	}
	if strings.ContainsFunc(value, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return errors.New("has a character that no token has")
	}
	return nil
}

// cause is the error without the path, which stands beside its setting already.
func cause(err error) error {
	var path *os.PathError
	if errors.As(err, &path) {
		return path.Err
	}
	return err
}
