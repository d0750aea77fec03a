package present_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"postmend/postfix/maillog"
	"postmend/postfix/maillog/present"
	"postmend/postfix/maillog/refusal"
	"postmend/postfix/maillog/tally"
)

// hostile octets: C0, DEL, C1 as octets and in UTF-8, line separators, bidirectional overrides, what cannot
// be seen, and what is not UTF-8.
var hostile = []string{
	"\x00", "\x01", "\x07", "\x08", "\x09", "\x0b", "\x0c", "\x0d", "\x1b[31m", "\x1b]0;title\x07", "\x7f",
	"\x80", "\x85", "\x9b31m", "\x9d0;title\x9c", "\xff", "\xc3", "\xed\xa0\x80",
	"\xf4\x90\x80\x80", "\xc0\x9b", "\u0080", "\u0085", "\u009b31m", "\u009d0;t\u009c", "\u2028", "\u2029",
	"\u202e", "\u202a", "\u2066", "\u2069", "\u200f", "\u061c",
	"\u200b", "\u2060", "\ufeff", "\u00ad", "\U000e0041", "\ufff9", "\ue000",
	`"`, `\`, "{}", "<script>", "&#27;", `\u001b`,
}

// hostileTemplate is the log of a message: H stands for the octets as they are, Q for the same in Go's
// escapes, of which they must not come back, ID and NEXT for queue ids, REASON for what the receiver said.
const hostileTemplate = `postfix/smtpd[1]: ID: client=xH[192.0.2.1]
postfix/qmgr[1]: ID: from=<aH@sH.example>, size=1, nrcpt=1 (queue active)
postfix/smtpd[1]: NEXT: client=x[127.0.0.1], orig_queue_id=ID
postmend[1]: ID: classes=forwarded:1 sender="<SRS0=x=y=z=a@srsQ" header_from="f.exampleQ"` +
	` dmarc="passQ" policy="rejectQ" new_from="<i@newQ" signed="example.org/sQ" result=queued` +
	` queued_as=NEXT time=0.1s why="from-stays,Q" notes="Q"
postfix/smtp[1]: NEXT: to=<bH@bH.example>, orig_to=<iH@oH.example>, relay=rH.example[1.2.3.4]:25, delay=1,` +
	` delays=0/0/0/0, dsn=5.0.0, status=bounced (REASON)
postfix/pipe[1]: ID: to=<bH@bH.example>, orig_to=<iH@oH.example>, relay=postmend, delay=1,` +
	` delays=0/0/0/0, dsn=2.0.0, status=sent (delivered via postmend service (2.0.0 queued as NEXT))
postfix/qmgr[1]: NEXT: removed
postfix/qmgr[1]: ID: removed
`

// hostileLog has the same octets in every field that a presentation shows.
func hostileLog(n int, h string) string {
	var log strings.Builder
	for k, reason := range []string{"host xH[1.2.3.4] said: 550 5.7.26 DMARC H no", "550 odd H",
		"550 H SPF fail"} {
		quoted := strconv.QuoteToASCII(h)
		text := strings.NewReplacer("ID", fmt.Sprintf("A%06X%dB", n, k), "NEXT",
			fmt.Sprintf("A%06X%dC", n, k), "REASON", strings.ReplaceAll(reason, "H", h), "H", h, "Q",
			quoted[1:len(quoted)-1]).Replace(
			hostileTemplate)
		for line := range strings.Lines(text) {
			log.WriteString("Nov 25 00:48:17 mx" + strings.ReplaceAll(h, " ", "") + " " + line)
		}
	}
	return log.String()
}

// rulesWith are an operator's rules whose texts have hostile octets, as TOML escapes them.
func rulesWith(t testing.TB) *refusal.Rules {
	t.Helper()
	rules, err := refusal.New(`
		[[class]]
		name = "house"
		title = "house\u001b\u009b\u202e"
		advice = "ring\u001b\u009b\u202e"
		[[rule]]
		class = "house"
		patterns = ["odd"]
		advice = "call\u001b\u0085"`)
	if err != nil {
		t.Fatal(err)
	}
	return rules
}

// outputs gives all that is shown of a log, by name of the form.
func outputs(t testing.TB, log string) map[string]string {
	t.Helper()
	rules := rulesWith(t)
	counted := tally.New(rules)
	tracker := maillog.NewTracker(time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC), time.UTC)
	tracker.Outcome = counted.Add
	var lines strings.Builder
	tracker.Refusal = func(o *maillog.Outcome) {
		title := rules.Classes[counted.Judge(o).Class].Title
		lines.WriteString(present.Refusal(o, title, counted.Receiver(o)) + "\n")
	}
	if err := tracker.Read(strings.NewReader(log)); err != nil {
		t.Fatal(err)
	}
	tracker.Close()
	report := counted.Report(tracker.Stats, 1000)
	forms := map[string]string{"lines of --follow": lines.String()}
	for name, write := range map[string]func(*bytes.Buffer) error{
		"text": func(w *bytes.Buffer) error {
			return present.Text(w, report, present.TextOptions{Spark: true})
		},
		"page": func(w *bytes.Buffer) error { return present.Page(w, report, "1.0") },
		"json": func(w *bytes.Buffer) error { return present.JSON(w, report) },
		"metrics": func(w *bytes.Buffer) error {
			return present.Metrics(w, counted.Totals(), tracker.Stats.Last)
		},
		"list": func(w *bytes.Buffer) error { return present.DomainList(w, nil, report.Strict) },
	} {
		var b bytes.Buffer
		if err := write(&b); err != nil {
			t.Fatal(err)
		}
		forms[name] = b.String()
	}
	return forms
}

// offending gives the first octets of a text that a terminal or a browser could take for more than a
// character.
func offending(text string) string {
	for at := 0; at < len(text); {
		r, size := utf8.DecodeRuneInString(text[at:])
		if r != '\n' && !strconv.IsPrint(r) || r == utf8.RuneError {
			return fmt.Sprintf("%+q in %+q", text[at:at+size], text[max(0, at-40):min(len(text), at+40)])
		}
		at += size
	}
	return ""
}

func TestNoPresentationShowsControlCharactersOfALog(t *testing.T) {
	var log strings.Builder
	for n, h := range hostile {
		log.WriteString(hostileLog(n, h))
	}
	forms := outputs(t, log.String())
	for name, text := range forms {
		if found := offending(text); found != "" {
			t.Errorf("%s: %s", name, found)
		}
		if len(text) == 0 || name != "metrics" && name != "list" && !strings.Contains(text, "house") {
			t.Errorf("%s shows nothing of the log: %.200s", name, text)
		}
	}
	if strings.Contains(forms["page"], "<script") {
		t.Error("the page has a script")
	}
	var decoded any
	if err := json.Unmarshal([]byte(forms["json"]), &decoded); err != nil {
		t.Fatal(err)
	}
	if found := offendingIn(decoded); found != "" {
		t.Errorf("a program that decodes the JSON and prints a name prints %s", found)
	}
}

func offendingIn(value any) string {
	switch v := value.(type) {
	case string:
		if strings.Contains(v, "\n") {
			return fmt.Sprintf("%q", v)
		}
		return offending(v)
	case []any:
		for _, element := range v {
			if found := offendingIn(element); found != "" {
				return found
			}
		}
	case map[string]any:
		for name, element := range v {
			if found := offendingIn(name) + offendingIn(element); found != "" {
				return found
			}
		}
	}
	return ""
}

// FuzzPresentations: whatever octets stand in the fields of a log.
func FuzzPresentations(f *testing.F) {
	for _, h := range hostile {
		f.Add(h)
	}
	f.Fuzz(func(t *testing.T, h string) {
		for name, text := range outputs(t, hostileLog(1, strings.ReplaceAll(h, "\n", " "))) {
			if found := offending(text); found != "" {
				t.Errorf("%s: %s", name, found)
			}
		}
	})
}

func TestOtherScriptsStayReadableOnThePageAndInJSON(t *testing.T) {
	forms := outputs(t, hostileLog(1, "müller例え"))
	for _, name := range []string{"page", "json"} {
		if !strings.Contains(forms[name], "smüller例え.example") {
			t.Errorf("%s: %s", name, forms[name])
		}
	}
}
