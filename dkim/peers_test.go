package dkim

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/emersion/go-msgauth/dkim"

	"postmend/tests/judge"
)

// toWire gives the message as SMTP carries it to a verifier: every line ends with CRLF, whatever stood there.
func toWire(signatures, header Header, body []byte) []byte {
	raw := bytes.Join(append(fieldBytes(signatures), fieldBytes(header)...), nil)
	if len(raw) > 0 && raw[len(raw)-1] != '\n' {
		raw = append(raw, '\n')
	}
	raw = append(append(raw, '\n'), body...)
	if raw[len(raw)-1] != '\n' {
		raw = append(raw, '\n')
	}
	var wire []byte
	for line := range bytes.Lines(raw) {
		wire = append(append(wire, bytes.TrimRight(line, "\r\n")...), '\r', '\n')
	}
	return wire
}

// msgauth is the verdict of the library that signs, on each signature.
func msgauth(t testing.TB, wire []byte, keys []*Key) []string {
	t.Helper()
	records := recordsOf(t, keys)
	results, err := dkim.VerifyWithOptions(bytes.NewReader(wire), &dkim.VerifyOptions{
		LookupTXT: func(name string) ([]string, error) { return []string{records[name]}, nil },
	})
	if err != nil {
		return []string{err.Error()}
	}
	verdicts := make([]string, len(results))
	for i, r := range results {
		if verdicts[i] = "pass"; r.Err != nil {
			verdicts[i] = "fail"
		}
	}
	return verdicts
}

func recordsOf(t testing.TB, keys []*Key) map[string]string {
	t.Helper()
	records := map[string]string{}
	for _, key := range keys {
		record, err := key.Record()
		if err != nil {
			t.Fatal(err)
		}
		records[key.RecordName()] = record
	}
	return records
}

// sample is a message that was signed, and what the judges are to say of each signature.
type sample struct {
	why     string
	wire    []byte
	keys    []*Key
	verdict string // pass or fail
	// odd headers have names with a blank before the colon (RFC 5322 section 4.5), or an empty From:.
	// dkimpy and OpenDKIM do not read them.
	odd bool
}

// sampler makes messages; the same ones for the same seed.
type sampler struct {
	*rand.Rand
	odd bool // see sample
}

func (r sampler) pick(from ...string) string { return from[r.IntN(len(from))] }

// field makes one with folds, blanks and octets as they occur, and as they ought not to occur.
func (r sampler) field(name string) string {
	return r.name(name) + ":" + r.value() + "x" + r.pick("", " ", "\t ") + "\r\n"
}

// from makes one that OpenDKIM understands: it wants an address.
func (r sampler) from() string {
	blank := func() string { return r.pick("", " ", "\t", "  \t ", "\r\n ", "\r\n \t") }
	return r.name("From") + ":" + blank() + r.pick("", "Alice", `"Alice,  B."`, "=?utf-8?q?=C3=84?=",
		"\xc3\x84 \xff") + blank() +
		"<a@example.org>" + blank() + "\r\n"
}

func (r sampler) name(name string) string {
	name = r.pick(name, name, strings.ToUpper(name), strings.ToLower(name))
	if r.odd {
		name += r.pick("", " ", "\t ")
	}
	return name
}

func (r sampler) value() string {
	value := r.pick("", " ", "\t", "  \t ", "\r\n ", "\r\n\t")
	for range 1 + r.IntN(6) {
		value += r.pick("<a@example.org>", "word", "=?utf-8?q?w=C3=B6rt?=", "w\xc3\xb6rt", "\xff\xfe\xa0",
			"a:b;c=d", `"quoted  blanks"`, ".", "b=x;bh=y",
			strings.Repeat("long", 60)) + r.pick(" ", "  ", "\t", " \t ", "\r\n ", "\r\n\t\t", " \r\n  ",
			"\r\n \r\n ", ",")
	}
	return value
}

func (r sampler) header() string {
	lines := []string{r.from()}
	for _, name := range []string{
		"To", "Subject", "Date", "Message-ID", "Reply-To", "Cc", "MIME-Version", "Content-Type",
		"Content-Transfer-Encoding", "In-Reply-To",
		"References", "Sender", "List-Id", "List-Unsubscribe", "List-Unsubscribe-Post", "Resent-From",
		"Received", "X-Spam-Status", "Autocrypt",
	} {
		for range []int{0, 1, 1, 1, 1, 2}[r.IntN(6)] {
			lines = append(lines, r.field(name))
		}
	}
	r.Shuffle(len(lines), func(i, j int) { lines[i], lines[j] = lines[j], lines[i] })
	if r.IntN(4) == 0 {
		lines = append(lines, "Subject:\r\n", "Subject: \t\r\n") // empty values, twice
	}
	return strings.Join(lines, "")
}

func (r sampler) body() string {
	var body strings.Builder
	for range r.IntN(30) {
		body.WriteString(r.pick("word", "w\xc3\xb6rt\xff", "", ".", "..", "...", " indented", "\ttab",
			"a  b \t c", "From x", "-- ", "a=3D", strings.Repeat("\r\n", 40), strings.Repeat("long ", 300)))
		body.WriteString(r.pick("", "", " ", "\t", "  \t ") + "\r\n")
	}
	body.WriteString(r.pick("", "no line end", "\r\n\r\n\r\n", " \r\n\t\r\n"))
	return body.String()
}

// signSample signs a message as it arrives, with LF or CRLF.
func signSample(t *testing.T, r sampler, why, header, body string, keys []*Key) sample {
	t.Helper()
	arrived, arrivedBody := header, body
	if r.IntN(2) == 0 {
		arrived, arrivedBody = strings.ReplaceAll(header, "\r\n", "\n"),
			strings.ReplaceAll(body, "\r\n", "\n")
	}
	signatures, err := sign(t, arrived, arrivedBody, keys...)
	if err != nil {
		t.Fatalf("%s: %v", why, err)
	}
	fields, _ := SplitHeader([]byte(header))
	return sample{why, toWire(signatures, fields, []byte(body)), keys, "pass", r.odd}
}

// spoil gives the message with a change that no signature may survive.
func (r sampler) spoil(s sample) sample {
	wire := string(s.wire)
	end := strings.Index(wire, "\r\n\r\n")
	from := fieldAt(wire, "from")
	change := r.IntN(5)
	switch change {
	case 0:
		s.why += ", with a second From:"
		wire = "From: mallory@example.net\r\n" + wire
	case 1:
		s.why += ", with another Subject:"
		wire = "Subject: another\r\n" + wire
	case 2:
		s.why += ", with a changed From:"
		wire = wire[:from] + "From: mallory@example.net," + wire[strings.Index(wire[from:], ":")+from+1:]
	case 3:
		s.why += ", with a line more"
		wire += "more\r\n"
	case 4:
		s.why += ", with text before the body"
		wire = wire[:end+4] + "more\r\n" + wire[end+4:]
	}
	s.wire, s.verdict = []byte(wire), "fail"
	return s
}

// fieldAt is where the first field of a name starts.
func fieldAt(wire, name string) int {
	header, _ := SplitHeader([]byte(wire))
	at := 0
	for _, field := range header {
		if field.Is(name) {
			break
		}
		at += len(field)
	}
	return at
}

// samples are signed messages and spoilt ones, a key alone and two together.
func samples(t *testing.T, keySets [][]*Key) []sample {
	r := sampler{Rand: rand.New(rand.NewPCG(6376, 8463))}
	var list []sample
	add := func(why, header, body string) {
		s := signSample(t, r, why, header, body, keySets[len(list)%len(keySets)])
		list = append(list, s, r.spoil(s))
	}
	const from = "From: Alice <a@example.org>\r\n"
	add("no body", from, "")
	add("an empty line as body", from, "\r\n")
	add("blank lines as body", from, " \r\n\t\r\n\r\n")
	add("two From: fields", from+from, "x\r\n")
	add("a long line", from, strings.Repeat("0123456789abcdef ", 1<<20/17)+"\r\n")
	add("a long run of empty lines", from, "a"+strings.Repeat("\r\n", 1<<16)+"b\r\n")
	add("a body of several pieces", from, strings.Repeat("word \t word\r\n\r\n", 1<<13))
	add("a folded field of many lines",
		from+"To: a\r\n"+strings.Repeat(" <b@example.net>,\r\n", 2000), "x\r\n")
	add("no blank after the colon", "From:a@example.org\r\nSubject:x\r\nTo:b@example.net\r\n", "x\r\n")
	for n := range 190 {
		r.odd = n%10 == 0
		add(fmt.Sprintf("message %d", n), r.header(), r.body())
	}
	r.odd = true
	add("a From: without value", "From:\r\n", "x\r\n")
	return list
}

// A judge has a verdict on each signature: "pass", "fail", or "unknown" for an algorithm that it does not
// know.
func TestOtherPeoplesVerifiersAcceptOurSignaturesAndNoChange(t *testing.T) {
	rsa, ed := newKey(t, "rsa2048", "2026a"), newKey(t, "ed25519", "2026e")
	list := samples(t, [][]*Key{{rsa}, {rsa, ed}, {ed}})
	records := recordsOf(t, []*Key{rsa, ed})
	verdicts := make(judge.Verdicts, len(list))
	for i, s := range list {
		verdicts[i] = msgauth(t, s.wire, s.keys)
	}
	t.Run("go-msgauth", func(t *testing.T) { compare(t, list, verdicts, onSignatures) })
	t.Run("Mail-DKIM", func(t *testing.T) {
		compare(t, list, judge.New(t, records, wires(list)).MailDKIM(), onSignatures)
	})

	list = slices.DeleteFunc(list, func(s sample) bool { return s.odd })
	t.Run("dkimpy", func(t *testing.T) {
		compare(t, list, judge.New(t, records, wires(list)).DKIMPy(), onSignatures)
	})
	t.Run("OpenDKIM", func(t *testing.T) {
		compare(t, list, judge.New(t, records, wires(list)).OpenDKIM(), onMessages)
	})
}

func wires(list []sample) [][]byte {
	messages := make([][]byte, len(list))
	for i, s := range list {
		messages[i] = s.wire
	}
	return messages
}

const (
	onSignatures = false
	onMessages   = true // a judge with one verdict a message
)

func compare(t *testing.T, list []sample, verdicts judge.Verdicts, perMessage bool) {
	t.Helper()
	known := 0
	for i, s := range list {
		want := len(s.keys)
		if perMessage {
			want = 1
		}
		if len(verdicts[i]) != want {
			t.Errorf("%s: %d verdicts %q on %d signatures", s.why, len(verdicts[i]), verdicts[i], len(s.keys))
		}
		for n, verdict := range verdicts[i] {
			if verdict == "unknown" && strings.Contains(s.keys[n].Selector, "e") {
				continue // ed25519
			}
			known++
			if verdict != s.verdict {
				t.Errorf("%s: signature %d by %s: %s, want %s\n%.2000q", s.why, n, s.keys[n].Selector,
					verdict, s.verdict, s.wire)
			}
		}
	}
	t.Logf("%d verdicts on %d messages", known, len(list))
}
