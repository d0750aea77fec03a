package filter

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"net/mail"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"blitiri.com.ar/go/spf"

	"postmend/filter/authn/dnsserver"
	"postmend/filter/cause"
	"postmend/filter/config"
	"postmend/filter/plan"
)

// outcome is what became of a scenario's message.
type outcome struct {
	env     *plan.Envelope
	config  *config.Config
	dns     *dnsserver.Server
	asked   []string // DNS questions of the run
	arrived string
	first   *outcome // of the message's arrival, if a program here sends it on; see world.arrive
	log     *LogLine
	err     error
	sent    []left
	door    *Judgement // nil if no milter has seen the message
	judged  string     // the message behind the milter; "" without one
}

func (w *world) play(t *testing.T, s scenario) *outcome {
	return w.playBy(t, s, func(f *Filter, o *outcome) {
		o.log, o.err = f.Run(context.Background(), o.env, strings.NewReader(cmp.Or(o.judged, o.arrived)))
	})
}

func (w *world) playBy(t *testing.T, s scenario, run func(*Filter, *outcome)) *outcome {
	header, body, _ := strings.Cut(strings.ReplaceAll(s["message"], "\n", "\r\n"), "\r\n\r\n")
	header += "\r\n"
	for line := range strings.Lines(s["sign"]) {
		if strings.TrimSpace(line) != "" {
			header = w.sign(t, line, header, body) + header
		}
	}
	for line := range strings.Lines(s["arc"]) {
		if strings.TrimSpace(line) != "" {
			header = w.seal(t, line, header, body) + header
		}
	}
	e, target := startExit(t)
	o := &outcome{env: readEnvelope(t, s["envelope"]), dns: w.dns(t, s),
		arrived: strings.ReplaceAll(header+"\r\n"+body, "\r\n", "\n")}
	o.config = w.config(t, s, o.dns.Addr(), target)
	if s["arrival"] != "" {
		w.arrive(t, s, o, e)
	} else if w.door != "" && !o.passTheDoor(t, w.now) {
		return o
	}
	if o.first != nil && o.first.door != nil && o.first.door.Refusal != nil {
		return o.first
	}
	f, err := New(o.config, Options{Now: func() time.Time { return w.now }})
	if err != nil {
		t.Fatal(err)
	}
	before := len(o.dns.Queries())
	run(f, o)
	o.asked = o.dns.Queries()[before:]
	e.mu.Lock()
	defer e.mu.Unlock()
	o.sent = e.sent
	return o
}

func (o *outcome) String() string {
	proven := o.log.known.Proven
	text := fmt.Sprintf("%v\ndmarc %s (%s) policy %s %s; spf %s\n", o.err, proven.DMARC.Status,
		proven.DMARC.Reason, proven.DMARC.Policy, proven.DMARC.PolicyName, proven.SPF.Status)
	for _, v := range proven.DKIM {
		text += fmt.Sprintf("dkim %s %s (%s)\n", v.Domain, v.Status, v.Reason)
	}
	for _, d := range append(o.log.plan.Deliveries, o.log.plan.Discarded...) {
		text += fmt.Sprintf("%+v\n", d)
	}
	for _, l := range o.sent {
		text += fmt.Sprintf("<%s> to %v:\n%.3000q\n", l.sender, l.recipients, l.text)
	}
	return text
}

// word is the outcome in the words of a scenario.
func (o *outcome) word() string {
	switch {
	case o.err == nil && len(o.sent) == 0:
		return "discarded"
	case o.err == nil:
		return "delivered"
	}
	f := cause.AsFailure(o.err)
	code := map[cause.Kind]string{cause.NoSuchUser: "5.1.1", cause.Configuration: "4.3.5"}[f.Kind]
	if f.Code != "" {
		code = f.Code
	}
	if f.Temporary() {
		return "deferred " + code
	}
	return "refused " + code
}

// checkRules checks what no scenario is an exception to.
func (o *outcome) checkRules(t *testing.T) {
	o.checkSeals(t)
	if o.err != nil && len(o.sent) > 0 {
		t.Errorf("handed over and failed: %v", o.err)
	}
	for _, l := range o.sent {
		if from := fieldsOf(l.text, "From"); !slices.Equal(from, fieldsOf(o.arrived, "From")) {
			if o.log.known.Proven.DMARC.Status != "pass" && !o.mayRewrite(t) {
				t.Error("From: was rewritten in a message that did not pass")
			}
		} else if o.receive(t, l.sender, o.config.Hostname, forwarderIP, l.text) == "pass" &&
			!o.passedOnArrival(t) {
			t.Errorf("a message passes that did not pass on arrival, sender <%s>", l.sender)
		} else if o.passesByHELO(t, l) && !o.passedOnArrival(t) {
			t.Errorf("a message passes by HELO that did not pass on arrival, sender <%s>", l.sender)
		}
		for _, line := range strings.Split(strings.Join(newFields(o.arrived, l.text, ""), ""), "\n") {
			if strings.ContainsAny(line, "\r\x00") || len(line) > 998 {
				t.Errorf("added: %q", line)
			}
		}
	}
}

// mayRewrite tells whether the configuration lets From: of a message be rewritten that did not pass, by
// what a receiver in this host's place would have seen.
func (o *outcome) mayRewrite(t *testing.T) bool {
	verdict := o.receive(t, o.env.Sender, o.env.HELO, o.env.ClientAddress, o.arrived)
	if len(o.config.DMARC.TrustedAuthors) > 0 && o.isTrustedAuthor(t) || o.isSealedByTrusted(t) {
		return true
	}
	return verdict == "none" && o.config.DMARC.MungeFrom == config.MungeAlways ||
		verdict == "none" &&
			slices.ContainsFunc(o.config.DMARC.Destinations, func(to config.Destination) bool {
				return to.MungeFrom == config.MungeAlways
			})
}

// isTrustedAuthor tells whether a trusted author sent the message, by the only From: that a plain reader
// finds, and by SPF as another library has it.
func (o *outcome) isTrustedAuthor(t *testing.T) bool {
	first := o
	if o.first != nil {
		first = o.first
	}
	list, err := mail.ParseAddressList(strings.Join(values(o.arrived, "From"), ","))
	if err != nil || len(list) != 1 {
		return false
	}
	author, ip := domainAfterAt(list[0].Address), net.ParseIP(first.env.ClientAddress)
	for _, a := range o.config.DMARC.TrustedAuthors {
		isAuthor := author == a.Domain || strings.HasPrefix(a.Domain, ".") &&
			strings.HasSuffix(author, a.Domain)
		if !isAuthor || ip == nil || registered(author) == "example.org" {
			continue
		}
		if _, network, err := net.ParseCIDR(a.Network); err == nil && network.Contains(ip) ||
			ip.Equal(net.ParseIP(a.Network)) {
			return true
		}
		sender := first.env.Sender
		if sender == "" {
			sender = "postmaster@" + first.env.HELO
		}
		status, _ := spf.CheckHostWithSender(ip, first.env.HELO, sender, spf.WithResolver(o.dns.Resolver()),
			spf.WithContext(t.Context()))
		if status == spf.Pass && domainAfterAt(sender) == a.SPF {
			return true
		}
	}
	return false
}

// of finds what was planned for a class, or for a recipient, and what left by it; without a class, the only
// delivery. Both are empty if there is none.
func (o *outcome) of(t *testing.T, class string) (d plan.Delivery, l left) {
	deliveries := append(slices.Clone(o.log.plan.Deliveries), o.log.plan.Discarded...)
	if class == "" && len(deliveries) > 1 {
		t.Fatal("several deliveries: the scenario has to say delivery: CLASS or RECIPIENT")
	}
	for _, d = range deliveries {
		isTo := func(r plan.Recipient) bool { return r.Address == class }
		if class != "" && string(d.Class) != class && !slices.ContainsFunc(d.Recipients, isTo) {
			continue
		}
		var to []string
		for _, r := range d.Recipients {
			to = append(to, r.Address)
		}
		for _, l := range o.sent {
			if slices.Equal(l.recipients, to) {
				return d, l
			}
		}
		return d, left{}
	}
	return plan.Delivery{}, left{}
}

// check compares with the lines of want.
func (o *outcome) check(t *testing.T, want string) {
	lines, class := pairs(t, want), ""
	if len(lines) == 0 || lines[0][0] != "outcome" {
		t.Fatal("want does not begin with outcome")
	}
	for _, p := range lines {
		name, value := p[0], p[1]
		if name == "delivery" {
			class = value
			continue
		}
		got, isPattern, known := o.look(t, name, class)
		switch {
		case o.atDoor() && slices.Contains([]string{"asked", "questions", "arrival"}, name):
			// the milter has done it
		case name == "not asked":
			if asked := strings.Join(o.asked, " "); regexp.MustCompile(value).MatchString(asked) {
				t.Errorf("asked for %q: %s", value, asked)
			}
		case name == "lacks":
			if got, _, _ := o.look(t, "header", class); regexp.MustCompile(value).MatchString(got) {
				t.Errorf("header has %q", value)
			}
		case !known:
			t.Fatalf("want: %q is not understood", name)
		case isPattern && !regexp.MustCompile("(?s)"+value).MatchString(got):
			t.Errorf("%s: %q does not match %q", name, got, value)
		case !isPattern && got != value:
			t.Errorf("%s: %s, want %s", name, got, value)
		}
	}
}

// look finds what a line of want is about.
func (o *outcome) look(t *testing.T, name, class string) (got string, isPattern, known bool) {
	if got, isPattern, known = o.lookAtRun(name); known {
		return got, isPattern, known
	}
	d, l := o.of(t, class)
	switch name {
	case "class":
		return string(d.Class), false, true
	case "sender":
		return o.senderWord(l.sender), false, true
	case "to":
		return strings.Join(l.recipients, " "), false, true
	case "from":
		return o.fromWord(l.text), false, true
	case "display":
		from, err := mail.ParseAddress(strings.Join(values(l.text, "From"), "\n"))
		if err != nil {
			return err.Error(), false, true
		}
		return from.Name, false, true
	case "signed":
		return o.signedWord(l.text), false, true
	case "sealed":
		return sealedWord(o.arrived, l.text), false, true
	case "untouched":
		return yes(withoutSeal(l.text) == withoutSeal(cmp.Or(o.judged, o.arrived))), false, true
	case "arrival":
		return string(d.Arrival), false, true
	case "origin":
		origin := o.log.known.Origin.Shown()
		return fmt.Sprint(origin.Client, " ", origin.Sender, " ", origin.Recipient), false, true
	case "log":
		return o.log.String(), true, true
	case "trace":
		return yes(len(newFields(o.arrived, l.text, "X-Forwarded-To")) > 0), false, true
	case "results":
		return strings.Join(newFields(o.arrived, l.text, "Authentication-Results"), ""), true, true
	case "our results":
		return strconv.Itoa(
			strings.Count(strings.ToLower(strings.Join(fieldsOf(l.text, "Authentication-Results"), "")),
				"mx.example.org")), false, true
	case "reply-to fields":
		return strconv.Itoa(len(fieldsOf(l.text, "Reply-To"))), false, true
	case "header":
		header, _, _ := strings.Cut(l.text, "\n\n")
		return header + "\n", true, true
	case "because":
		return fmt.Sprint(d.Reasons, "; ") + fmt.Sprint("; ", o.err), true, true
	case "receiver":
		return o.receive(t, l.sender, "mx.example.org", forwarderIP, l.text), false, true
	}
	return "", false, false
}

// lookAtRun is look for what is not about one delivery.
func (o *outcome) lookAtRun(name string) (got string, isPattern, known bool) {
	dmarc := o.log.known.Proven.DMARC
	switch name {
	case "outcome":
		return o.word(), false, true
	case "deliveries":
		return strconv.Itoa(len(o.sent)), false, true
	case "dmarc":
		return string(dmarc.Status), false, true
	case "policy":
		return string(dmarc.Policy), false, true
	case "spf":
		return string(o.log.known.Proven.SPF.Status), false, true
	case "arc":
		return string(o.log.known.Proven.ARC.Status), false, true
	case "dkim":
		var words []string
		for _, v := range o.log.known.Proven.DKIM {
			words = append(words, string(v.Status))
		}
		return strings.Join(words, " "), false, true
	case "asked":
		return strings.Join(o.asked, " "), true, true
	case "questions":
		return strconv.Itoa(len(o.asked)), false, true
	}
	return "", false, false
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

func (o *outcome) senderWord(sender string) string {
	switch {
	case sender == "":
		return "null"
	case sender == o.env.Sender:
		return "same"
	case regexp.MustCompile(`^SRS[01]=.*@srs\.`).MatchString(sender):
		return "srs"
	}
	return sender
}

func (o *outcome) fromWord(text string) string {
	if slices.Equal(fieldsOf(text, "From"), fieldsOf(o.arrived, "From")) {
		return "untouched"
	}
	from, err := mail.ParseAddress(strings.Join(values(text, "From"), "\n"))
	if err != nil {
		return err.Error()
	}
	return from.Address
}

func (o *outcome) signedWord(text string) string {
	var domains []string
	for _, field := range newFields(o.arrived, text, "DKIM-Signature") {
		domains = append(domains, regexp.MustCompile(`\bd=([^;\s]+)`).FindStringSubmatch(field)[1])
	}
	if domains == nil {
		return "none"
	}
	return strings.Join(domains, " ")
}

// fieldsOf gives the header fields of a name, "" of any, as they stand.
func fieldsOf(text, name string) (fields []string) {
	header, _, _ := strings.Cut(text, "\n\n")
	for _, field := range regexp.MustCompile(`(?m)^[!-9;-~]+[ \t]*:.*\n([ \t].*\n)*`).FindAllString(
		header+"\n", -1) {
		n, _, _ := strings.Cut(field, ":")
		if name == "" || strings.EqualFold(strings.TrimSpace(n), name) {
			fields = append(fields, field)
		}
	}
	return fields
}

// values are the values of the fields of a name, unfolded.
func values(text, name string) (list []string) {
	for _, field := range fieldsOf(text, name) {
		_, value, _ := strings.Cut(field, ":")
		list = append(list, strings.TrimSpace(strings.ReplaceAll(value, "\n", "")))
	}
	return list
}

// newFields are the fields of a name that a message did not arrive with.
func newFields(arrived, leaving, name string) (fields []string) {
	old := fieldsOf(arrived, name)
	for _, field := range fieldsOf(leaving, name) {
		if i := slices.Index(old, field); i >= 0 {
			old = slices.Delete(old, i, i+1)
			continue
		}
		fields = append(fields, field)
	}
	return fields
}
