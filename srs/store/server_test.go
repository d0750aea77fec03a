package store

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"postmend/srs"
	"postmend/tests/listen"
)

// answering gives a store whose server does with each connection what answer says, and the server's URL.
func answering(t testing.TB, answer func(net.Conn)) Store {
	t.Helper()
	return at(t, "redis://"+listen.TCP(t, answer)+"/0", morning)
}

// replying reads one command and sends a text.
func replying(text string) func(net.Conn) {
	return func(conn net.Conn) {
		in := bufio.NewReader(conn)
		if _, err := readReply(in, maxLevels); err != nil { // a command is a list, too
			return
		}
		_, _ = io.WriteString(conn, text)
	}
}

func TestAServerThatCannotTellIsTrouble(t *testing.T) {
	for name, text := range map[string]string{
		"wants AUTH":                "-NOAUTH Authentication required.\r\n",
		"is a replica":              "-READONLY You can't write against a read only replica.\r\n",
		"is full":                   "-OOM command not allowed when used memory > 'maxmemory'.\r\n",
		"cannot save":               "-MISCONF Redis is configured to save RDB snapshots\r\n",
		"is loading":                "-LOADING Redis is loading the dataset in memory\r\n",
		"is a cluster":              "-MOVED 3999 127.0.0.1:6381\r\n",
		"closes":                    "",
		"closes in a line":          "+O",
		"closes in a text":          "$100\r\nabc",
		"speaks SMTP":               "220 mail.example.org ESMTP\r\n",
		"speaks HTTP":               "HTTP/1.1 400 Bad Request\r\n\r\n",
		"an entry that is not ours": "$3\r\nabc\r\n",
		"an empty entry":            "$0\r\n\r\n",
		"the entry of another key": bulk(
			encode(srs.Key{Day: key.Day, Token: "zzzzzzzzzzzzzzzzzzzz"}, sender)),
		"a length that lies": "$5\r\nabcdefgh\r\n",
		"a huge length":      "$1073741824\r\n",
		"a negative length":  "$-2\r\n",
		"a huge list":        "*1073741824\r\n",
		"lists in lists":     strings.Repeat("*1\r\n", 10_000),
		"a line without end": strings.Repeat("+x", 100_000),
		"bare LF":            "+OK\n",
		"a blank line":       "\r\n",
		"random octets":      "\x00\xff\x80\r\n\x1b[2J",
	} {
		t.Run(name, func(t *testing.T) {
			s := answering(t, replying(text))
			wantTrouble(t, s, key)
			err := s.Put(t.Context(), key, sender)
			if err == nil || errors.Is(err, srs.ErrUnknown) ||
				strings.ContainsAny(err.Error(), "\x1b\r\n\x00") {
				t.Errorf("Put: %v", err)
			}
			if err := s.List(t.Context(), func(Entry) error { return nil }); err == nil {
				t.Error("List found nothing wrong")
			}
		})
	}
}

// A server may send as much as the time allows. What is kept of it is limited, and so is what is read of one
// reply.
func TestAServerThatSendsTooMuchIsLeft(t *testing.T) {
	for name, text := range map[string]string{
		"long texts":  "*10000\r\n" + strings.Repeat("$65536\r\n"+strings.Repeat("x", 65536)+"\r\n", 500),
		"long lines":  "*10000\r\n" + strings.Repeat("+"+strings.Repeat("x", 4000)+"\r\n", 10_000),
		"empty lists": "*10000\r\n" + strings.Repeat("*10000\r\n"+strings.Repeat("*0\r\n", 10_000), 100),
	} {
		rest := strings.NewReader(text)
		if _, err := readReply(bufio.NewReader(rest), maxLevels); !errors.Is(err, errProtocol) {
			t.Errorf("%s: %v", name, err)
		}
		if read := len(text) - rest.Len(); read > 10<<20 {
			t.Errorf("%s: %d octets were read", name, read)
		}
	}
}

func bulk(text string) string {
	var out strings.Builder
	w := bufio.NewWriter(&out)
	writeCommand(w, text)
	w.Flush()
	return strings.TrimPrefix(out.String(), "*1\r\n")
}

func TestAServerThatHangsIsLeftInTime(t *testing.T) {
	whole := bulk(encode(key, sender))
	for _, said := range []string{"", "$", "$9", "$9\r", whole[:20], whole[:len(whole)-1]} {
		s := answering(t, func(conn net.Conn) {
			_, _ = io.WriteString(conn, said)
			_, _ = io.Copy(io.Discard, conn)
		})
		s.(*server).timeout = 50 * time.Millisecond
		if got, err := s.Get(t.Context(), key); got != "" || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("after %q: %q, %v", said, got, err)
		}
		if err := s.Put(t.Context(), key, sender); !errors.Is(err, context.DeadlineExceeded) &&
			!errors.Is(err, errProtocol) {
			t.Errorf("after %q: %v", said, err)
		}
	}
	s := answering(t, func(conn net.Conn) { _, _ = io.Copy(io.Discard, conn) })
	s.(*server).timeout = time.Hour
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := s.Put(ctx, key, sender); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

func TestAServerThatIsNotThereIsTrouble(t *testing.T) {
	for _, url := range []string{"redis://127.0.0.1:1/0",
		"redis+unix://" + filepath.Join(t.TempDir(), "none")} {
		wantTrouble(t, at(t, url, morning), key)
	}
}

func TestNoErrorHasThePassword(t *testing.T) {
	const password = "s3cr3t-pass"
	s := answering(t, func(conn net.Conn) { // repeats what it gets, as an error
		in := bufio.NewReader(conn)
		command, err := readReply(in, maxLevels)
		if err != nil {
			return
		}
		_, _ = io.WriteString(conn, "-ERR unknown command "+command.list[len(command.list)-1].text+"\r\n")
	})
	s.(*server).password = func() (string, error) { return password, nil }
	if _, err := s.Get(t.Context(), key); err == nil || strings.Contains(err.Error(), password) {
		t.Errorf("got %v", err)
	}
}

func TestAMissingEntryIsUnknown(t *testing.T) {
	if _, err := answering(t, replying("$-1\r\n")).Get(t.Context(), key); !errors.Is(err, srs.ErrUnknown) {
		t.Errorf("got %v", err)
	}
}

func TestLocations(t *testing.T) {
	for url, want := range map[string]Location{
		"dir:/var/lib/postmend/srs": {Dir: "/var/lib/postmend/srs"},
		"dir:/srv/srs/":             {Dir: "/srv/srs"},
		"redis://valkey.example:6380/2": {Network: "tcp", Address: "valkey.example:6380",
			Host: "valkey.example", Port: 6380, Database: 2},
		"redis://[2001:db8::1]": {Network: "tcp", Address: "[2001:db8::1]:6379",
			Host: "2001:db8::1", Port: 6379},
		"rediss://valkey.example/": {Network: "tcp", Address: "valkey.example:6379",
			Host: "valkey.example", Port: 6379, TLS: true},
		"redis+unix:///run/v.sock":    {Network: "unix", Address: "/run/v.sock"},
		"redis+unix:///run/v?db=3":    {Network: "unix", Address: "/run/v", Database: 3},
		"dir:srs":                     {},
		"dir:":                        {},
		"/var/lib/postmend/srs":       {},
		"redis://":                    {},
		"redis://host:0":              {},
		"redis://host:99999":          {},
		"redis://host/x":              {},
		"redis://host/0?db=1":         {},
		"redis://host/0#x":            {},
		"redis://user:s3cr3t@host/0":  {},
		"redis+unix://host/run/v":     {},
		"redis+unix:run/v":            {},
		"redis+unix:///run/v?x=1":     {},
		"memcached://host":            {},
		"redis://ho st/":              {},
		"redis://u:s3cr3t@host:x y/0": {},
		"\x1b[2J":                     {},
	} {
		got, err := Parse(url)
		switch {
		case got != want, (err == nil) != (want != Location{}):
			t.Errorf("Parse(%q) = %+v, %v", url, got, err)
		case err != nil && (strings.Contains(err.Error(), "s3cr3t") || strings.Contains(err.Error(), "\x1b")):
			t.Errorf("Parse(%q): %v", url, err)
		}
	}
}

func FuzzReply(f *testing.F) {
	for _, seed := range []string{"+OK\r\n", "-ERR x\r\n", "$3\r\nabc\r\n", "$-1\r\n",
		"*2\r\n$1\r\n0\r\n*1\r\n:1\r\n", "*-1\r\n"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, said []byte) {
		in := bufio.NewReader(strings.NewReader(string(said)))
		got, err := readReply(in, maxLevels)
		if err == nil && len(got.text) > len(said) {
			t.Errorf("%q: %q", said, got.text)
		}
	})
}

// Only what encode makes is an entry, and it is what was given.
func FuzzEntry(f *testing.F) {
	f.Add(encode(key, sender))
	f.Add("postmend 1 00000000 x\n")
	f.Fuzz(func(t *testing.T, text string) {
		if sender, err := decode(key, text); err == nil && encode(key, sender) != text {
			t.Errorf("%q is taken for the entry of %q", text, sender)
		}
		if checkEntry(key, text) == nil {
			if back, err := decode(key, encode(key, text)); back != text || err != nil {
				t.Errorf("%q comes back as %q, %v", text, back, err)
			}
		}
	})
}
