package plan

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"postmend/filter/authn"
	"postmend/filter/cause"
	"postmend/filter/domain"
	"postmend/srs"
)

// testPolicy is at home in example.org, rewrites with srs.forwarder.net and signs as example.org.
func testPolicy(t *testing.T) *Policy {
	t.Helper()
	rewriter, err := srs.New(srs.Options{Domain: "srs.forwarder.net", Secrets: [][]byte{[]byte("s")},
		Now: func() time.Time { return time.Unix(1577836860, 0) }})
	if err != nil {
		t.Fatal(err)
	}
	return &Policy{
		local: domain.Set{"example.org": true, ".sub.example.org": true, "srs.forwarder.net": true},
		trusted: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"),
			netip.MustParsePrefix("2001:db8::/32")},
		srs:           rewriter,
		srsDomain:     "srs.forwarder.net",
		signers:       map[string]bool{"example.org": true, "second.example": true},
		defaultSigner: "example.org",
	}
}

// The rows of the plan's table in the design, and the rules below it.
const outside = "192.0.2.25"

var fromOutside = Envelope{Sender: "a@b.example", ClientAddress: outside}

// planRow is a row of the table of classes. VALID stands for an SRS address of ours.
type planRow struct {
	name      string
	env       Envelope
	recipient string
	Authors   []string

	class  Class
	to     string // "" is the recipient itself
	sender string // "srs" stands for any SRS address of ours
	signAs string
	trace  bool
}

var classRows = []planRow{
	{"SRS address of ours, valid", Envelope{ClientAddress: outside}, "VALID", nil, Reversed,
		"carol@origin.example", "", "", false},
	{"SRS address of ours, in other letters", Envelope{ClientAddress: outside}, "VALID in other letters", nil,
		Reversed, "carol@ORIGIN.EXAMPLE", "", "", false},
	{"mail to an SRS address that is no bounce", fromOutside, "VALID", nil, Reversed, "carol@origin.example",
		"a@b.example", "", false},
	{"local domain", fromOutside, "x@example.org", []string{"b.example"}, Local, "",
		"a@b.example", "", false},
	{"local domain in other letters, with a dot", fromOutside, "x@Example.ORG.", []string{"b.example"}, Local,
		"", "a@b.example", "", false},
	{"subdomain by a leading dot", fromOutside, "x@deep.sub.example.org", nil, Local, "",
		"a@b.example", "", false},
	{"a leading dot does not take the domain itself", fromOutside, "x@sub.example.org", nil, Forwarded, "",
		"srs", "example.org", true},
	{"plain address in the SRS domain", fromOutside, "postmaster@srs.forwarder.net", nil, Local, "",
		"a@b.example", "", false},
	{"address without domain", fromOutside, "root", nil, Local, "", "a@b.example", "", false},

	{"own mail of a user who logged in",
		Envelope{Sender: "u@example.org", ClientAddress: outside, SASLUsername: "u"}, "x@remote.example",
		[]string{"example.org"}, Outgoing, "", "u@example.org", "example.org", false},
	{"own mail of a trusted client", Envelope{Sender: "u@example.org", ClientAddress: "127.0.0.1"},
		"x@remote.example", []string{"example.org"}, Outgoing, "", "u@example.org", "example.org", false},
	{"own mail of a trusted IPv6 client, in Postfix's form",
		Envelope{Sender: "u@example.org", ClientAddress: "IPv6:2001:db8::7"}, "x@remote.example",
		[]string{"example.org"}, Outgoing, "", "u@example.org", "example.org", false},
	{"own mail without client", Envelope{Sender: "u@example.org"}, "x@remote.example",
		[]string{"example.org"}, Outgoing, "", "u@example.org", "example.org", false},
	{"own mail, From: below a domain with a key", Envelope{Sender: "root@example.org"}, "x@remote.example",
		[]string{"mx.example.org"}, Outgoing, "", "root@example.org", "example.org", false},
	{"own mail, From: in a domain without key", Envelope{Sender: "u@example.org"}, "x@remote.example",
		[]string{"b.example"}, Outgoing, "", "u@example.org", "", false},
	{"own mail, From: in two domains", Envelope{Sender: "u@example.org"}, "x@remote.example",
		[]string{"example.org", "second.example"}, Outgoing, "", "u@example.org", "", false},
	{"own mail, sender elsewhere", Envelope{Sender: "u@gmail.example", SASLUsername: "u"}, "x@remote.example",
		[]string{"second.example"}, Outgoing, "", "srs", "second.example", false},
	{"own mail, sender without domain", Envelope{Sender: "root"}, "x@remote.example", []string{"example.org"},
		Outgoing, "", "root", "example.org", false},
}

var foreignRows = []planRow{
	{"bounce from outside", Envelope{ClientAddress: outside}, "x@remote.example", []string{"b.example"},
		Bounce, "", "", "example.org", false},
	{"bounce of our own", Envelope{}, "x@remote.example", []string{"example.org"}, Bounce, "", "",
		"example.org", false},
	{"bounce from outside, From: of ours", Envelope{ClientAddress: outside}, "x@remote.example",
		[]string{"example.org"}, Bounce, "", "", "", false},

	{"already our SRS sender", Envelope{Sender: "VALID", ClientAddress: outside}, "x@remote.example",
		[]string{"b.example"}, Forwarded, "", "VALID", "example.org", true},

	{"forwarded", fromOutside, "x@remote.example", []string{"b.example"}, Forwarded, "", "srs",
		"example.org", true},
	{"forwarded, client address that cannot be read",
		Envelope{Sender: "a@b.example", ClientAddress: "mumble"}, "x@remote.example", []string{"b.example"},
		Forwarded, "", "srs", "example.org", true},
	{"forwarded, sender of a local domain", Envelope{Sender: "u@example.org", ClientAddress: outside},
		"x@remote.example", []string{"b.example"}, Forwarded, "", "u@example.org", "example.org", true},
	{"forwarded, no From:", fromOutside, "x@remote.example", nil, Forwarded, "", "srs", "example.org", true},
	{"forwarded, sender too long for SRS",
		Envelope{Sender: strings.Repeat("a", 60) + "@b.example", ClientAddress: outside}, "x@remote.example",
		[]string{"b.example"}, Forwarded, "", strings.Repeat("a", 60) + "@b.example", "example.org", true},
	{"forwarded, sender that SRS cannot take apart", Envelope{Sender: "@b.example", ClientAddress: outside},
		"x@remote.example", []string{"b.example"}, Forwarded, "", "@b.example", "example.org", true},

	{"forged From: of our signing domain", fromOutside, "x@remote.example", []string{"example.org"},
		Forwarded, "", "a@b.example", "", false},
	{"forged From: below our signing domain", fromOutside, "x@remote.example", []string{"ceo.example.org"},
		Forwarded, "", "a@b.example", "", false},
	{"forged From: above our SRS domain", fromOutside, "x@remote.example", []string{"forwarder.net"},
		Forwarded, "", "a@b.example", "", false},
	{"forged From: beside another author", fromOutside, "x@remote.example",
		[]string{"b.example", "example.org"}, Forwarded, "", "a@b.example", "", false},
	{"From: of a domain of ours that does not sign here", fromOutside, "x@remote.example",
		[]string{"second.example"}, Forwarded, "", "srs", "example.org", true},
}

func TestThePlanFollowsTheTable(t *testing.T) {
	p := testPolicy(t)
	valid, err := p.srs.Forward("carol@origin.example")
	if err != nil {
		t.Fatal(err)
	}
	upper := strings.ToUpper(strings.TrimSuffix(valid, "carol@srs.forwarder.net")) + "carol@SRS.forwarder.net"
	fill := strings.NewReplacer("VALID in other letters", upper, "VALID", valid).Replace
	for _, row := range slices.Concat(classRows, foreignRows) {
		row.recipient, row.sender, row.env.Sender = fill(row.recipient), fill(row.sender),
			fill(row.env.Sender)
		t.Run(row.name, func(t *testing.T) {
			row.env.Recipients = []Recipient{{Address: row.recipient}}
			decided := planFor(p, &row.env, Facts{Authors: row.Authors, Proven: notThroughUs})
			if decided.Refusal != nil || len(decided.Deliveries) != 1 {
				t.Fatalf("plan: %+v", decided)
			}
			d := decided.Deliveries[0]
			if row.to == "" {
				row.to = row.recipient
			}
			senderFits := d.Sender == row.sender || row.sender == "srs" &&
				strings.HasPrefix(d.Sender, "SRS0=") && strings.HasSuffix(d.Sender, "@srs.forwarder.net")
			if d.Class != row.class || d.Recipients[0].Address != row.to || !senderFits ||
				d.SignAs != row.signAs || d.Trace != row.trace {
				t.Errorf("got %+v, want class %s, to %s, sender %s, signed as %q, trace %v", d, row.class,
					row.to, row.sender, row.signAs, row.trace)
			}
			if len(d.Reasons) == 0 {
				t.Error("the plan gives no reason")
			}
		})
	}
}

func planFor(p *Policy, env *Envelope, msg Facts) Plan {
	p.Route(env)
	return p.plan(env, msg)
}

// notThroughUs is of a message that proves nothing, whose sender's SPF record does not name this host.
var notThroughUs = Proof{Transit: Transit{Status: authn.Fail}}

func TestBadSRSAddressesAreRefused(t *testing.T) {
	p := testPolicy(t)
	valid, _ := p.srs.Forward("carol@origin.example")
	for name, recipient := range map[string]string{
		"forged":    strings.Replace(valid, "carol@", "mallory@", 1),
		"expired":   "SRS0=te87=T7=otherdomain.com=test@srs.forwarder.net",
		"malformed": "srs0=x@SRS.forwarder.net",
	} {
		env := &Envelope{ClientAddress: "192.0.2.25", Recipients: []Recipient{{Address: recipient}}}
		decided := planFor(p, env, Facts{})
		refusal := decided.Refusal
		if refusal == nil || refusal.Kind != cause.NoSuchUser || len(decided.Deliveries) != 0 {
			t.Errorf("%s: %+v", name, decided)
		}
		// Beside another recipient it must not decide for both: Postfix refuses it after the hand-over.
		env.Recipients = append(env.Recipients, Recipient{Address: "x@example.org"})
		decided = planFor(p, env, Facts{})
		if decided.Refusal != nil || len(decided.Deliveries) != 2 ||
			decided.Deliveries[0].Recipients[0].Address != recipient {
			t.Errorf("%s, with another recipient: %+v", name, decided)
		}
	}
}

func TestWithoutSecretsOnlyWhatNeedsThemWaits(t *testing.T) {
	p := testPolicy(t)
	valid, _ := p.srs.Forward("carol@origin.example")
	p.srs, p.srsError = nil, &cause.Failure{Reason: "gone"}
	for recipient, waits := range map[string]bool{valid: true, "x@remote.example": true,
		"x@example.org": false} {
		decided := planFor(p, &Envelope{Sender: "a@b.example", ClientAddress: "192.0.2.25",
			Recipients: []Recipient{{Address: recipient}}}, Facts{})
		refusal := decided.Refusal
		if got := refusal != nil; got != waits || waits && refusal.Kind != cause.Configuration {
			t.Errorf("%s: %+v", recipient, decided)
		}
	}
}

func TestAnOversizedHeaderIsForwardedAsItCame(t *testing.T) {
	decided := planFor(testPolicy(t), &Envelope{Sender: "a@b.example", ClientAddress: "192.0.2.25",
		Recipients: []Recipient{{Address: "x@remote.example"}}}, Facts{Oversized: true, Proven: notThroughUs})
	if d := decided.Deliveries[0]; d.Sender != "a@b.example" || d.SignAs != "" || d.Trace {
		t.Errorf("got %+v", d)
	}
}

func TestEachClassIsOneDelivery(t *testing.T) {
	p := testPolicy(t)
	env := &Envelope{Sender: "a@b.example", ClientAddress: "192.0.2.25", Recipients: []Recipient{
		{Address: "1@remote.example"}, {Address: "2@example.org"}, {Address: "3@other.example"},
		{Address: "4@example.org"}}}
	decided := planFor(p, env, Facts{Authors: []string{"b.example"}})
	var got []string
	for _, d := range decided.Deliveries {
		for _, r := range d.Recipients {
			got = append(got, string(d.Class)+" "+r.Address)
		}
		if d.Trace {
			t.Error("trace fields name one recipient to another")
		}
	}
	want := []string{"local 2@example.org", "local 4@example.org", "forwarded 1@remote.example",
		"forwarded 3@other.example"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
}

// No line is longer than RFC 5322 section 2.1.1 allows, and none is in UTF-8 without SMTPUTF8.
func TestThePlanHasTraceFieldsOnlyIfTheyFit(t *testing.T) {
	p := testPolicy(t)
	for _, c := range []struct {
		to, alias string
		utf8      bool
		want      bool
	}{
		{"x@remote.example", "alias@example.org", false, true},
		{strings.Repeat("x", 500) + "@remote.example", "alias@example.org", false, false},
		{"x@remote.example", strings.Repeat("x", 500) + "@example.org", false, false},
		{"jürgen@remote.example", "alias@example.org", false, false},
		{"x@remote.example", "jürgen@example.org", false, false},
		{"x@remote.example", "jürgen@example.org", true, true},
	} {
		env := &Envelope{Sender: "a@b.example", ClientAddress: "192.0.2.25",
			Recipients: []Recipient{{Address: c.to, Original: c.alias}}}
		msg := Facts{Authors: []string{"b.example"}, Proven: notThroughUs, CameWithUTF8: c.utf8}
		decided := planFor(p, env, msg)
		if decided.Refusal != nil || decided.Deliveries[0].Trace != c.want {
			t.Errorf("%.30q by %.30q, UTF-8 %t: %+v", c.to, c.alias, c.utf8, decided)
		}
	}
}
