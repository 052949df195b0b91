package client

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// aged makes a file old enough to be judged by its looks.
func aged(t *testing.T, path string) string {
	t.Helper()
	past := time.Now().Add(-time.Hour)
	if err := os.Chtimes(path, past, past); err != nil {
		t.Fatal(err)
	}
	return path
}

func wantToken(t *testing.T, a *Agent, want, problem string) {
	t.Helper()
	if got, err := a.Token(); err != nil || got != want {
		t.Errorf("token %q, want %q (error: %v)", got, want, err)
	}
	got := ""
	if err := a.TokenProblem(); err != nil {
		got = err.Error()
	}
	if got != problem {
		t.Errorf("problem %q, want %q", got, problem)
	}
}

func TestTokenRotates(t *testing.T) {
	path := filepath.Join(t.TempDir(), "token")
	a := agent(t, Settings{TokenFile: write(t, path, "\t one \r\n")})
	wantToken(t, a, "one", "")

	write(t, path, "two") // the same length at about the same time
	wantToken(t, a, "two", "")
	aged(t, path)
	wantToken(t, a, "two", "")

	if err := os.Rename(aged(t, write(t, path+".new", "six")), path); err != nil {
		t.Fatal(err)
	}
	wantToken(t, a, "six", "")
}

func TestTokenIsNotReadInVain(t *testing.T) {
	path := filepath.Join(t.TempDir(), "token")
	a := agent(t, Settings{TokenFile: aged(t, write(t, path, "one"))})
	wantToken(t, a, "one", "")
	// What cannot be seen from outside is not seen.
	aged(t, write(t, path, "two"))
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	a.token.seen = stampOf(info)
	wantToken(t, a, "one", "")
}

func TestLastGoodTokenStays(t *testing.T) {
	path := filepath.Join(t.TempDir(), "token")
	a := agent(t, Settings{TokenFile: aged(t, write(t, path, "good"))})
	say := func(what string) string { return "token-file " + path + ": " + what }

	if err := os.Rename(path, path+".away"); err != nil {
		t.Fatal(err)
	}
	wantToken(t, a, "good", say("no such file or directory"))
	if err := os.Rename(path+".away", path); err != nil {
		t.Fatal(err)
	}
	wantToken(t, a, "good", "")

	write(t, path, "\n")
	wantToken(t, a, "good", say("is empty"))
	write(t, path, "<html>\n<body>")
	wantToken(t, a, "good", say("has a character that no token has"))
	write(t, path, strings.Repeat("x", maxToken+1))
	wantToken(t, a, "good", say("is longer than 8192 bytes"))
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	wantToken(t, a, "good", say("is not a regular file"))
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	write(t, path, "better")
	wantToken(t, a, "better", "")
}

func TestEmptyTokenFileFills(t *testing.T) {
	path := write(t, filepath.Join(t.TempDir(), "token"), "")
	a := agent(t, Settings{TokenFile: path, Token: "fallback"})
	wantToken(t, a, "fallback", "token-file "+path+": is empty")
	write(t, path, "real")
	wantToken(t, a, "real", "")
}

func BenchmarkToken(b *testing.B) {
	path := filepath.Join(b.TempDir(), "token")
	a := agent(b, Settings{TokenFile: write(b, path, "one")})
	past := time.Now().Add(-time.Hour)
	if err := os.Chtimes(path, past, past); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := a.Token(); err != nil {
			b.Fatal(err)
		}
	}
}
