package postfix

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strings"
	"testing"
	"testing/iotest"
)

// echo has a value for every key with an @, but for those of trouble.example and of empty.example.
func echo(key string) Answer {
	switch {
	case strings.HasSuffix(key, "@trouble.example"):
		return Answer{TryLater, "some trouble"}
	case strings.HasSuffix(key, "@empty.example"):
		return Answer{Found, ""}
	case strings.Contains(key, "@"):
		return Answer{Found, "<" + key + ">"}
	}
	return Answer{NotFound, "no address"}
}

type serveFunc func(io.Reader, io.Writer, Table) error

func conversation(t *testing.T, serve serveFunc, questions string) (string, error) {
	t.Helper()
	var out bytes.Buffer
	err := serve(strings.NewReader(questions), &out, echo)
	var slowly bytes.Buffer
	again := serve(iotest.OneByteReader(strings.NewReader(questions)), &slowly, echo)
	if slowly.String() != out.String() || !errors.Is(again, err) {
		t.Errorf("octet by octet, %.200q is answered %q, %v; at once %q, %v", questions, slowly.String(),
			again, out.String(), err)
	}
	return out.String(), err
}

// tcp_table(5), "Request format" to "Encoding".
func TestATCPTableAnswersInItsProtocol(t *testing.T) {
	for _, c := range []struct{ questions, answers string }{
		{"", ""},
		{"get a@b\n", "200 <a@b>\n"},
		{"get a@b\nget c\nget D@e\n", "200 <a@b>\n500 no%20address\n200 <D@e>\n"},
		{"get a%20b%25%c3%BC%00@c\n", "200 <a%20b%25%C3%BC%00@c>\n"},
		{"get \xc3\xbc+@c\n", "200 <%C3%BC+@c>\n"},
		{"get a\x00b@c\n", "200 <a%00b@c>\n"},
		{"get a b@c\n", "200 <a%20b@c>\n"},
		{"get x@trouble.example\n", "400 some%20trouble\n"},
		{"get x@empty.example\n", "500 no%20value\n"},
		{"get \nget\n", "500 no%20address\n500 no%20address\n"},
		{"put a@b c\n", "500 this%20table%20cannot%20be%20changed\n"},
		{"get a%4\nget %zz@b\n", "400 wrong%20%25XX%20in%20the%20key\n400 wrong%20%25XX%20in%20the%20key\n"},
		{"\nEHLO x\n\x16\x03\x01\n", strings.Repeat("400 not%20a%20request%20of%20tcp_table(5)\n", 3)},
		{"get a@b\nget c@d", "200 <a@b>\n400 request%20cut%20short\n"},
		{"get " + strings.Repeat("x", 4091) + "\nget a@b\n", "500 no%20address\n200 <a@b>\n"},
		{"get " + strings.Repeat("x", 4092) + "\nget a@b\n", "500 key%20too%20long\n200 <a@b>\n"},
		{"get " + strings.Repeat("x@", 1e6) + "\nget a@b\n", "500 key%20too%20long\n200 <a@b>\n"},
		{strings.Repeat("x", 1e6) + "\nget a@b\n", "400 request%20too%20long\n200 <a@b>\n"},
		{strings.Repeat("x", 1e6), "400 request%20cut%20short\n"},
		{"get @" + strings.Repeat("%FF", 1300) + "\n", "200 <@" + strings.Repeat("%FF", 1300) + ">\n"},
		{"get @" + strings.Repeat("\xff", 4000) + "\n", "400 value%20too%20long\n"},
	} {
		if got, err := conversation(t, ServeTCP, c.questions); got != c.answers || err != nil {
			t.Errorf("%.200q is answered %.200q, %v, want %.200q", c.questions, got, err, c.answers)
		}
	}
}

func netstrings(texts ...string) string {
	var s strings.Builder
	for _, text := range texts {
		fmt.Fprintf(&s, "%d:%s,", len(text), text)
	}
	return s.String()
}

// socketmap_table(5), "Request format" to "Reply format".
func TestASocketmapAnswersInItsProtocol(t *testing.T) {
	malformed := netstrings("PERM not a netstring")
	for _, c := range []struct {
		questions, answers string
		broken             bool
	}{
		{"", "", false},
		{"11:reverse a@b,", "8:OK <a@b>,", false},
		{netstrings("any a@b", "x c", "x D@e"),
			netstrings("OK <a@b>", "NOTFOUND no address", "OK <D@e>"), false},
		{netstrings("x a b%20\n\xc3\xbc\x00@c"), netstrings("OK <a b%20\n\xc3\xbc\x00@c>"), false},
		{netstrings("x x@trouble.example"), netstrings("TEMP some trouble"), false},
		{netstrings("x x@empty.example", "x "),
			netstrings("NOTFOUND no value", "NOTFOUND no address"), false},
		{netstrings("", "x", " a@b", "x a@b"),
			netstrings("PERM not a request of socketmap_table(5)", "PERM not a request of socketmap_table(5)",
				"PERM not a request of socketmap_table(5)", "OK <a@b>"), false},
		{netstrings("x a@b") + "5:x a@", netstrings("OK <a@b>", "TEMP request cut short"), false},
		{"5", netstrings("TEMP request cut short"), false},
		{"5:x a@b", netstrings("TEMP request cut short"), false},
		{"4096:x " + strings.Repeat("y", 4094) + "," + netstrings("x a@b"),
			netstrings("NOTFOUND no address", "OK <a@b>"), false},
		{netstrings("x "+strings.Repeat("y@", 1e6), "x a@b"),
			netstrings("NOTFOUND key too long", "OK <a@b>"), false},
		{"999999999:x", netstrings("TEMP request cut short"), false},
		{netstrings("x a@b") + "5:x a@b;" + netstrings("x a@b"), netstrings("OK <a@b>") + malformed, true},
		{":x,", malformed, true},
		{"get a@b\n", malformed, true},
		{"-1:x,", malformed, true},
		{"9999999999:x,", malformed, true},
		{strings.Repeat("1", 1e6), malformed, true},
	} {
		got, err := conversation(t, ServeSocketmap, c.questions)
		if got != c.answers || (err != nil) != c.broken {
			t.Errorf("%.200q is answered %.200q, %v, want %.200q", c.questions, got, err, c.answers)
		}
	}
}

// A client may wait for the answers to whole requests before it sends the rest of one.
func TestAnAnswerDoesNotWaitForTheNextRequest(t *testing.T) {
	for name, c := range map[string]struct {
		serve               serveFunc
		first, rest, answer string
	}{
		"tcp":       {ServeTCP, "get a@b\nget c", "@d\n", "200 <a@b>\n"},
		"socketmap": {ServeSocketmap, "5:x a@b,5:x c", "@d,", "8:OK <a@b>,"},
	} {
		questions, ask := io.Pipe()
		hear, answers := io.Pipe()
		ended := make(chan error)
		go func() { ended <- c.serve(questions, answers, echo) }()
		go io.WriteString(ask, c.first)
		got := make([]byte, len(c.answer))
		if _, err := io.ReadFull(hear, got); string(got) != c.answer {
			t.Errorf("%s: %q, %v", name, got, err)
		}
		go func() {
			io.WriteString(ask, c.rest)
			ask.Close()
		}()
		if rest, err := bufio.NewReader(hear).ReadString('>'); !strings.HasSuffix(rest, "<c@d>") {
			t.Errorf("%s: %q, %v", name, rest, err)
		}
		hear.Close()
		<-ended
	}
}

func TestAnAnswerThatCannotBeSentEndsTheTable(t *testing.T) {
	hear, answers := io.Pipe()
	hear.Close()
	for _, c := range []struct {
		serve    serveFunc
		question string
	}{{ServeTCP, "get a@b\n"}, {ServeSocketmap, "5:x a@b,"}} {
		endless := io.MultiReader(strings.NewReader(strings.Repeat(c.question, 10000)),
			iotest.ErrReader(errors.New("asked on")))
		if err := c.serve(endless, answers, echo); !errors.Is(err, io.ErrClosedPipe) {
			t.Errorf("%v", err)
		}
	}
}

// FuzzServeTCP checks, against tcp_table(5), that there is an answer to each line, and that it is one.
func FuzzServeTCP(f *testing.F) {
	for _, seed := range []string{"get a@b\nget c%20@d\n", "put x y\nget %\n\n",
		"get " + strings.Repeat("%41", 1400) + "\nget a@b"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, questions []byte) {
		answers, err := conversation(t, ServeTCP, string(questions))
		if err != nil {
			t.Fatalf("%q: %v", questions, err)
		}
		lines := strings.Split(answers, "\n")
		asked := bytes.Count(questions, []byte("\n"))
		if len(questions) > 0 && questions[len(questions)-1] != '\n' {
			asked++
		}
		if len(lines) != asked+1 || lines[asked] != "" {
			t.Fatalf("%q is answered %q", questions, answers)
		}
		for _, line := range lines[:asked] {
			code, text, ok := strings.Cut(line, " ")
			if value, err := url.PathUnescape(text); !ok || err != nil || len(line) >= 4096 ||
				code == "200" && !strings.Contains(value, "@") ||
				code != "200" && code != "400" && code != "500" ||
				strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r > '~' }) {
				t.Fatalf("%q is answered %q", questions, line)
			}
		}
	})
}

// FuzzServeSocketmap checks that all that comes back are netstrings of socketmap_table(5).
func FuzzServeSocketmap(f *testing.F) {
	for _, seed := range []string{"5:x a@b,5:y c@d,", "0:,1:x,2:x ,", "00005:x a@b,4:x", "5000:x",
		"5:x a@b;"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, questions []byte) {
		answers, err := conversation(t, ServeSocketmap, string(questions))
		in := bufio.NewReader(strings.NewReader(answers))
		last := ""
		for {
			var length int
			if n, _ := fmt.Fscanf(in, "%d:", &length); n == 0 {
				break
			}
			text := make([]byte, length+1)
			if _, err := io.ReadFull(in, text); err != nil || text[length] != ',' {
				t.Fatalf("%q is answered %q", questions, answers)
			}
			status, _, ok := strings.Cut(string(text[:length]), " ")
			if !ok || !strings.Contains(" OK NOTFOUND TEMP PERM ", " "+status+" ") {
				t.Fatalf("%q is answered %q", questions, answers)
			}
			last = status
		}
		if in.Buffered() > 0 || err != nil && last != "PERM" || len(questions) > 0 && last == "" {
			t.Fatalf("%q is answered %q, %v", questions, answers, err)
		}
	})
}
