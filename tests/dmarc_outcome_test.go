package tests

import (
	"bytes"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"postmend/tests/judge"
	"postmend/tests/mta"
	"postmend/tests/receiver"
)

// outcome is what became of a letter.
type outcome struct {
	*letter
	refused bool
	// refusedAtDoor is set if the client was told, and nobody else.
	refusedAtDoor bool
	bounces       []mta.Received
	came          []mta.Received
	left          []receiver.Evaluation // of what came, one by one
}

// deliver sends all letters, waits until the forwarder is done with each, and checks what came of them.
func (w *world) deliver() {
	w.t.Helper()
	ids := make([]string, len(w.letters))
	atDoor := map[int]bool{}
	for n, l := range w.letters {
		id, err := l.submit(w.smtp)
		if atDoor[n] = w.door && err != nil && strings.Contains(err.Error(), `550 "5.7.1 `); !atDoor[n] {
			w.check(err)
		}
		ids[n] = id
	}
	for n, id := range ids {
		if !atDoor[n] {
			w.WaitLog(0, id+": removed")
		}
	}
	w.waitEmptyQueue()

	outcomes := make([]*outcome, len(w.letters))
	log := w.Log()
	for n, l := range w.letters {
		outcomes[n] = &outcome{letter: l, refusedAtDoor: atDoor[n]}
		outcomes[n].refused = !atDoor[n] && strings.Count(log, ids[n]+": to=") > 0 &&
			len(regexp.MustCompile(ids[n]+`: to=.* dsn=5\.7\.1, status=bounced`).FindAllString(log,
				-1)) == len(l.to)
	}
	w.collect(outcomes)
	w.judge(outcomes)
	total := map[string]int{}
	for _, o := range outcomes {
		o.check(w, total)
	}
	w.t.Logf("%s: %d messages, %v", w.name, len(outcomes), total)
	for _, least := range []struct {
		what string
		n    int
	}{{"passed on arrival", 100}, {"did not pass on arrival", 100}, {"From: rewritten", 20},
		{"signature survived", 60}, {"refused", 10}} {
		if total[least.what] < least.n {
			w.t.Errorf("%s: only %d, too few to show anything", least.what, total[least.what])
		}
	}
}

var token = regexp.MustCompile(`(?m)^X-Token: (\d+)\r$`)

// collect puts what came in its place.
func (w *world) collect(outcomes []*outcome) {
	w.t.Helper()
	for _, got := range append(w.remote.Messages(), w.local.Messages()...) {
		found := token.FindSubmatch(got.Content)
		if found == nil {
			w.t.Errorf("a message of nobody: %.300q", got.Content)
			continue
		}
		var n int
		fmt.Sscan(string(found[1]), &n)
		header, _, _ := bytes.Cut(got.Content, []byte("\r\n\r\n"))
		if bytes.Contains(header, []byte("Content-Type: multipart/report")) {
			outcomes[n].bounces = append(outcomes[n].bounces, got)
		} else {
			outcomes[n].came = append(outcomes[n].came, got)
		}
	}
}

// judge asks the judges: as the forwarder is asked, and as the receiver is.
func (w *world) judge(outcomes []*outcome) {
	w.t.Helper()
	var arrivals, departures []judge.Arrival
	for _, o := range outcomes {
		arrivals = append(arrivals,
			judge.Arrival{Address: o.address, HELO: o.helo, Sender: o.from, Content: o.content})
		for _, got := range o.came {
			departures = append(departures,
				judge.Arrival{Address: ourAddress, HELO: ourHELO, Sender: got.From, Content: got.Content})
		}
	}
	left := receiver.DMARC(w.t, w.zone.String(), departures)
	for n, e := range receiver.DMARC(w.t, w.zone.String(), arrivals) {
		o := outcomes[n]
		o.arrived = e
		o.left, left = left[:len(o.came)], left[len(o.came):]
	}
}

// check holds an outcome against what was promised.
func (o *outcome) check(w *world, total map[string]int) {
	fail := func(format string, args ...any) {
		w.t.Helper()
		w.t.Errorf("%s: %s\nfrom <%s>, client %s, HELO %s\non arrival: %+v\nat the receiver: %+v\n%.1500s",
			o.name, fmt.Sprintf(format, args...), o.from, o.address, o.helo, o.arrived, o.left, o.content)
		for _, got := range o.came {
			w.t.Logf("came from <%s> to %q:\n%.2500s", got.From, got.To, got.Content)
		}
	}
	if o.forged && o.arrived.Passed() {
		fail("the forgery is none")
	}
	if o.refusedAtDoor {
		total["refused"]++
		if o.arrived.Passed() || !o.mustRefuse() || len(o.came)+len(o.bounces) > 0 {
			fail("refused at the door; %d messages and %d bounces came", len(o.came), len(o.bounces))
		}
		return
	}
	if o.refused && w.door && o.mustRefuse() {
		fail("refused after it was accepted")
	}
	if o.refused {
		total["refused"]++
		o.checkRefusal(w, fail)
		return
	}
	if len(o.came) != len(o.to) || len(o.bounces) > 0 {
		fail("%d messages and %d bounces came, want %d and none", len(o.came), len(o.bounces), len(o.to))
	}
	for n, got := range o.came {
		want := map[string]string{"alias@example.org": "remote@example.com",
			"other@example.org": "other@example.net"}
		if len(got.To) != 1 || want[o.to[0]] != got.To[0] && (len(o.to) == 1 || want[o.to[1]] != got.To[0]) {
			fail("came to %q", got.To)
		}
		o.checkArrived(w, got, o.left[n], total, fail)
	}
}

// mayBecomeOurs tells whether munge_from = "always" may rewrite From: although DMARC did not pass: the
// author's domain has no record, and nothing speaks against it but SPF that its own signature outweighs.
func (o *outcome) mayBecomeOurs() bool {
	isOwnSignature := func(s receiver.Signature) bool {
		return s.Passed && strings.HasSuffix("."+s.Domain, "."+noRecord)
	}
	return strings.HasPrefix(o.name, noRecord+": ") &&
		(o.arrived.SPF != "fail" || slices.ContainsFunc(o.arrived.Signatures, isOwnSignature))
}

// checkArrived is for what came to the receiver.
func (o *outcome) checkArrived(w *world, got mta.Received, left receiver.Evaluation, total map[string]int,
	fail func(string, ...any)) {
	sent := asTransported(o.content)
	untouched, folded := bytes.HasSuffix(got.Content, sent), len(sent) > len(o.content)
	strict := o.arrived.Policy == "quarantine" || o.arrived.Policy == "reject"
	survived := !folded && slices.ContainsFunc(o.arrived.Aligned, func(s receiver.Signature) bool {
		return s.Algorithm == "rsa-sha256"
	})
	munges := strict || w.always
	if !untouched {
		total["From: rewritten"]++
	}
	if !o.arrived.Passed() {
		total["did not pass on arrival"]++
		if w.always && o.mayBecomeOurs() && left.Author == "example.org" {
			total["From: without a DMARC record is ours"]++
			return
		}
		if left.Passed() {
			fail("did not pass on arrival, and passes at the receiver")
		}
		if !untouched {
			fail("did not pass on arrival, and header or body was changed")
		}
		if o.forged && o.mustRefuse() {
			fail("a forgery of our own domain was not refused")
		}
		// Under quarantine it is to reach the spam folder, and not to be refused for SPF.
		if o.arrived.Policy == "quarantine" && o.from != "" && !o.isOurs() && left.SPF != "pass" {
			fail("under quarantine SPF is %s for the sender <%s>", left.SPF, got.From)
		}
		return
	}
	total["passed on arrival"]++
	if survived {
		total["signature survived"]++
	}
	switch {
	case survived && !w.always && (!untouched || left.Author != o.arrived.Author || len(left.Aligned) == 0):
		fail("the author's signature could have survived; From: untouched is %v", untouched)
	case (munges || survived) && !left.Passed():
		fail("passed on arrival, and does not pass at the receiver")
	case !munges && !untouched:
		fail("From: was rewritten although nobody would refuse the message")
	case left.Passed():
		total["pass at the receiver"]++
	default: // the domain asks for nothing, so From: has not been rewritten
		total["policy none: neither pass nor refused"]++
	}
}

// asTransported breaks lines as smtp(8) does (smtp_line_length_limit).
func asTransported(content []byte) []byte {
	var b bytes.Buffer
	for line := range bytes.Lines(content) {
		for room := 998; len(line)-len("\r\n") > room; room = 997 {
			b.Write(line[:room])
			b.WriteString("\r\n ")
			line = line[room:]
		}
		b.Write(line)
	}
	return b.Bytes()
}

// isOurs tells whether the domain that a letter claims is aligned with our signing or SRS domain.
func (o *outcome) isOurs() bool {
	return o.domain == "example.org" || strings.HasSuffix(o.domain, ".example.org") ||
		strings.HasSuffix("."+o.domain, ".fwd.example")
}

func (o *outcome) mustRefuse() bool {
	return o.isOurs() && (o.policy == "quarantine" || o.policy == "reject")
}

// checkRefusal: on purpose only, for forgeries of our own domains that ask for it or that would pass merely
// by being sent from here; and its sender hears of it.
func (o *outcome) checkRefusal(w *world, fail func(string, ...any)) {
	sender := o.from[strings.LastIndexByte(o.from, '@')+1:]
	vouched := sender == "" || sender == "example.org" || strings.HasSuffix(sender, ".example.org") ||
		strings.HasSuffix("."+sender, ".fwd.example")
	if o.arrived.Passed() || !o.isOurs() || !o.mustRefuse() && !vouched {
		fail("refused without a reason")
	}
	want := 1
	if o.home(w) == "" {
		want = 0
	}
	if len(o.came) > 0 || len(o.bounces) != want || want == 1 && o.bounces[0].To[0] != o.home(w) {
		fail("refused; %d messages and bounces %d came, want none and %d", len(o.came), len(o.bounces), want)
	}
}

// home is where a bounce arrives: an SRS address leads to the original sender, and nobody else lives in the
// SRS domain that Postfix has.
func (o *outcome) home(w *world) string {
	switch {
	case strings.HasPrefix(o.from, "SRS0=") && strings.HasSuffix(o.from, "@"+w.srsDomain):
		return "x@none.example"
	case strings.HasSuffix(o.from, "@"+srsDomain):
		return ""
	}
	return o.from
}
