package filter

import (
	"cmp"
	"context"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"postmend/filter/plan"
)

// arrive takes a scenario's message in for a mailbox here, as its section arrival says: an envelope, and
//
//	clock    the time of arrival from now on, such as -120h
//	secrets  what is in the file of secrets meanwhile, "none" if it is missing
//
// What came into the mailbox, and is changed as the section change says, is then sent on with the
// section envelope:
//
//	replace  OLD => NEW, as it stands in the message, \n is a line end
//	top      a field that is put on top
func (w *world) arrive(t *testing.T, s scenario, o *outcome, e *exit) {
	t.Helper()
	clock, secrets := w.now, ""
	var envelope string
	for _, p := range pairs(t, s["arrival"]) {
		switch p[0] {
		case "clock":
			d, err := time.ParseDuration(p[1])
			if err != nil {
				t.Fatal(err)
			}
			clock = w.now.Add(d)
		case "secrets":
			secrets = p[1]
		default:
			envelope += p[0] + ": " + p[1] + "\n"
		}
	}
	o.first = &outcome{env: readEnvelope(t, envelope), dns: o.dns, config: o.config, arrived: o.arrived}
	if secrets != "" {
		kept, err := os.ReadFile(o.config.SRS.SecretsFile)
		if err != nil {
			t.Fatal(err)
		}
		o.withSecrets(t, secrets)
		defer o.withSecrets(t, string(kept))
	}
	f, err := New(o.config, Options{Now: func() time.Time { return clock }})
	if err != nil {
		t.Fatal(err)
	}
	if w.door == "transport" { // where no alias is expanded, and no filter sees local mail
		for i := range o.first.env.Recipients {
			o.first.env.Recipients[i].Original = ""
		}
	}
	if w.door != "" && !o.first.passTheDoor(t, clock) {
		return
	}
	if w.door == "transport" {
		o.first.sent = []left{{text: o.first.judged}}
		o.judged = change(t, o.first.judged, s["change"])
		o.arrived = withoutResults(o.judged)
		return
	}
	o.first.log, o.first.err = f.Run(context.Background(), o.first.env,
		strings.NewReader(cmp.Or(o.first.judged, o.arrived)))
	if o.first.err != nil || len(e.sent) != 1 {
		t.Fatalf("on arrival: %v, %d messages", o.first.err, len(e.sent))
	}
	o.arrived, o.first.sent, e.sent = change(t, e.sent[0].text, s["change"]), e.sent, nil
	if w.door != "" {
		o.judged, o.arrived = o.arrived, withoutResults(o.arrived)
	}
}

// withSecrets changes the file of secrets.
func (o *outcome) withSecrets(t *testing.T, secrets string) {
	t.Helper()
	err := os.Remove(o.config.SRS.SecretsFile)
	if secrets != "none" {
		err = os.WriteFile(o.config.SRS.SecretsFile,
			[]byte(strings.ReplaceAll(secrets, " ", "\n")+"\n"), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func change(t *testing.T, text, changes string) string {
	t.Helper()
	for line := range strings.Lines(changes) {
		name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
		value = strings.ReplaceAll(value, `\n`, "\n")
		old, new, found := strings.Cut(value, " => ")
		switch {
		case name == "top":
			text = value + "\n" + text
		case name == "replace" && found && strings.Contains(text, old):
			text = strings.Replace(text, old, new, 1)
		case name != "":
			t.Fatalf("change: %q is not understood, or nothing to replace in\n%s", line, text)
		}
	}
	return text
}

// passedOnArrival is a receiver's verdict in this host's place; of mail that was written here it is a
// pass.
func (o *outcome) passedOnArrival(t *testing.T) bool {
	if o.first != nil {
		return o.first.passedOnArrival(t)
	}
	p, err := plan.NewPolicy(o.config, nil)
	if err != nil {
		t.Fatal(err)
	}
	return p.IsOurs(o.env) ||
		o.receive(t, o.env.Sender, o.env.HELO, o.env.ClientAddress, o.arrived) == "pass"
}

var sealPattern = regexp.MustCompile(`(?mi)^x-postmend-arrival[ \t]*:.*\n([ \t].*\n)*`)

// withoutSeal is a message without the topmost seal of arrival.
func withoutSeal(text string) string {
	header, _, _ := strings.Cut(text, "\n\n")
	if found := sealPattern.FindStringIndex(header + "\n"); found != nil {
		return text[:found[0]] + text[found[1]:]
	}
	return text
}

// checkSeals checks that no seal leaves, and that mail for a mailbox here has none that came from
// outside.
func (o *outcome) checkSeals(t *testing.T) {
	t.Helper()
	if !o.config.Arrival.Seals() {
		return
	}
	for _, l := range o.sent {
		isLocal := slices.ContainsFunc(o.log.plan.Deliveries, func(d plan.Delivery) bool {
			return d.Class == plan.Local && d.Recipients[0].Address == l.recipients[0]
		})
		switch seals := fieldsOf(l.text, "X-Postmend-Arrival"); {
		case !isLocal && len(seals) > 0 && !o.log.known.Oversized:
			t.Errorf("a seal leaves: %q", seals)
		case isLocal && len(seals) > 1 && o.env.HasClient() && o.env.SASLUsername == "":
			t.Errorf("%d seals", len(seals))
		}
	}
}
