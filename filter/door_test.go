package filter

import (
	"context"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"postmend/dkim"
)

// passTheDoor has the milter judge the scenario's message, and makes the changes as Postfix does. It is false
// for a message that was refused.
func (o *outcome) passTheDoor(t *testing.T, now time.Time) bool {
	t.Helper()
	f, err := New(o.config, Options{Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	env := *o.env
	env.Recipients = nil
	for _, r := range o.env.Recipients { // aliases are not expanded yet
		if r.Original != "" {
			r.Address = r.Original
		}
		env.Recipients = append(env.Recipients, Recipient{Address: r.Address})
	}
	own, rest := ownReceived(o.arrived)
	j, err := f.Judge(context.Background(), &env, strings.NewReader(strings.ReplaceAll(rest, "\n", "\r\n")))
	if err != nil {
		t.Fatal(err)
	}
	o.door = &j
	o.judged = own + applied(t, rest, j)
	return j.Refusal == nil
}

// ownReceived cuts off the Received: field that Postfix has written, which no milter sees.
func ownReceived(text string) (own, rest string) {
	header, n := dkim.SplitHeader([]byte(text))
	if len(header) > 1 && n < 1<<20 && header[0].Is("Received") {
		return string(header[0]), text[len(header[0]):]
	}
	return "", text
}

// applied makes the changes in a message.
func applied(t *testing.T, text string, j Judgement) string {
	t.Helper()
	header, n := dkim.SplitHeader([]byte(text))
	for _, at := range slices.Backward(j.Remove) {
		seen := 0
		i := slices.IndexFunc(header, func(f dkim.Field) bool {
			if f.Is(at.Name) {
				seen++
			}
			return seen == at.N
		})
		if i < 0 {
			t.Fatalf("%v is not there", at)
		}
		header = slices.Delete(header, i, i+1)
	}
	var b strings.Builder
	for _, f := range slices.Concat(j.Add, header) {
		b.WriteString(strings.ReplaceAll(string(f), "\r\n", "\n"))
	}
	return b.String() + text[n:]
}

// TestScenariosBehindTheDoor: with the milter in front, the same becomes of every message as without it, but
// that a forgery may be refused earlier, and a message that passes at a stranger's receiver never is.
func TestScenariosBehindTheDoor(t *testing.T) {
	files, err := filepath.Glob("testdata/scenarios/*.txt")
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("GODEBUG", "rsa1024min=0")
	w := newWorld(t)
	recalled := 0
	for _, w.door = range []string{"transport", "content-filter"} {
		for _, file := range files {
			t.Run(w.door+"/"+strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
				s := w.read(t, file)
				if w.door == "transport" && strings.Contains(s["want"], "class: local") {
					t.Skip("no filter sees local mail")
				}
				o := w.play(t, s)
				if o.door != nil && o.door.Refusal != nil {
					o.checkRefusal(t, s["want"])
					return
				}
				o.checkRules(t)
				o.check(t, s["want"])
				if known := o.log.known; known.recalled != nil && known.authentic() {
					recalled++
					o.checkQuestions(t)
				}
				if t.Failed() {
					t.Logf("%s%s", s["why"], o)
				}
			})
		}
	}
	if recalled < 20 {
		t.Errorf("the milter was believed about %d messages that passed", recalled)
	}
}

// checkQuestions: of what passed, only signatures are checked again.
func (o *outcome) checkQuestions(t *testing.T) {
	t.Helper()
	for _, question := range o.asked {
		if !strings.Contains(question, "._domainkey.") {
			t.Errorf("asked %s", question)
		}
	}
}

// checkRefusal: what is refused proves nothing to a stranger's receiver either, or the filter would refuse
// it.
func (o *outcome) checkRefusal(t *testing.T, want string) {
	t.Helper()
	f := o.door.Refusal
	isFilters := strings.HasPrefix(want, "outcome: refused "+f.Code)
	if !isFilters && !f.Temporary() && o.passedOnArrival(t) {
		t.Errorf("a message was refused that passes DMARC: %v", f)
	}
}

func (o *outcome) atDoor() bool { return o.door != nil || o.first != nil && o.first.door != nil }

var resultsPattern = regexp.MustCompile(`(?m)^Authentication-Results: mx\.example\.org;.*\n([ \t].*\n)*`)

// withoutResults is a message without what the milter wrote in it.
func withoutResults(text string) string {
	header, _, _ := strings.Cut(text, "\n\n")
	if found := resultsPattern.FindStringIndex(header + "\n"); found != nil {
		return text[:found[0]] + text[found[1]:]
	}
	return text
}
