package reinject

import (
	"bufio"
	"net/textproto"
	"strings"
	"testing"
)

func parseReply(s string) (reply, error) {
	return readReply(bufio.NewReaderSize(strings.NewReader(s), maxReplyLine))
}

func TestQueueIDIsTakenOnlyWhereItLooksLikeOne(t *testing.T) {
	for text, want := range map[string]string{
		"250 2.0.0 Ok: queued as 4F1Zz0ABC":                            "4F1Zz0ABC",
		"250 2.0.0 from MTA(smtp:[127.0.0.1]:10026): 250 queued as AB": "AB",
		"250 2.0.0 Ok: queued as AB done":                              "AB",
		"250 2.0.0 Ok":                                                 "",
		"250 queued as ":                                               "",
		"250 queued as A-B":                                            "",
		"250 queued as A\x1b[2J":                                       "",
		"250 queued as " + strings.Repeat("A", 33):                     "",
	} {
		r, err := parseReply(text + "\r\n")
		if err != nil || r.queueID() != want {
			t.Errorf("%q: got %q, %v, want %q", text, r.queueID(), err, want)
		}
	}
}

func TestExtensionsAreReadHoweverTheyAreWritten(t *testing.T) {
	r, err := parseReply(
		"250-mail.example.net PIPELINING\r\n250-Size 1000\r\n250-AUTH=LOGIN\r\n250-auth PLAIN\r\n250\r\n")
	if err != nil {
		t.Fatal(err)
	}
	got := r.extensions()
	_, found := got["PIPELINING"]
	if found || got["SIZE"] != "1000" || strings.Join(strings.Fields(got["AUTH"]), " ") != "LOGIN PLAIN" {
		t.Errorf("got %q; the first line is the server's name", got)
	}
}

// FuzzReadReply compares with the standard library's reader wherever that one understands a reply within
// our bounds.
func FuzzReadReply(f *testing.F) {
	for _, s := range []string{"250 ok\r\n", "250-a\r\n250 b\r\n", "250-a\r\n251 b\r\n", "250\r\n", "25",
		"\x00\r\n", "250-\r\n250\r\n", "554-5.7.1 a\n554 5.7.1 b\n", strings.Repeat("250-x\r\n", 101),
		"250 " + strings.Repeat("x", 3000)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		r, err := parseReply(s)
		if err != nil {
			return
		}
		if r.code < 200 || r.code > 599 || len(r.lines) < 1 || len(r.lines) > maxReplyLines {
			t.Fatalf("got code %d in %d lines", r.code, len(r.lines))
		}
		e := r.refusal(stageRCPT)
		if strings.ContainsFunc(e.Error(), func(r rune) bool { return r < ' ' || r > '~' }) ||
			len(e.Text) > maxText {
			t.Fatalf("unfit for a log: %q", e.Error())
		}
		r.queueID()
		r.extensions()
		for _, line := range r.lines {
			if strings.Contains(line, "\n") || len(line) > maxReplyLine {
				t.Fatalf("line %q", line)
			}
		}
		code, _, err := textproto.NewReader(bufio.NewReader(strings.NewReader(s))).ReadResponse(0)
		if err == nil && code != r.code {
			t.Fatalf("code %d, net/textproto reads %d", r.code, code)
		}
	})
}
