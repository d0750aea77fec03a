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
	"postmend/filter/cause"
	"postmend/filter/plan"
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
		env.Recipients = append(env.Recipients, plan.Recipient{Address: r.Address})
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
	modes := []string{"transport", "content-filter"}
	if testing.Short() {
		modes = modes[:1]
	}
	for _, w.door = range modes {
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
				if known := o.log.known; known.Recalled != nil && known.Authentic() {
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

// arrivalsAtTheDoor are single messages, and what becomes of them.
func TestWhatIsRefusedAtTheDoorAndWhatGoesOn(t *testing.T) {
	t.Setenv("GODEBUG", "rsa1024min=0")
	const zone = "bank.example TXT v=spf1 ip4:192.0.2.25 -all\n_dmarc.bank.example TXT v=DMARC1; p=reject\n" +
		"soft.example TXT v=spf1 -all\n_dmarc.soft.example TXT v=DMARC1; p=none\n" +
		"_dmarc.deaf.example SERVFAIL\ndeaf.example SERVFAIL\n_dmarc.customer.example TXT v=DMARC1; " +
		"p=quarantine\ncustomer.example TXT v=spf1 -all\n"
	const deafOwn = "example.org SERVFAIL\n"
	long := strings.Repeat("X: "+strings.Repeat("x", 990)+"\n", 1100)
	w := newWorld(t)
	for _, row := range []struct{ name, config, zone, envelope, message, want string }{
		{"own domain, policy reject", "", zone, "from: x@evil.example", "From: a@example.org", "550 5.7.1"},
		{"own domain, from the mailbox itself", "", zone, "from: a@example.org", "From: a@example.org",
			"550 5.7.1"},
		{"a login", "", zone, "from: x@evil.example\nsasl: alice", "From: a@example.org", "own"},
		{"this host", "", zone, "from: x@evil.example\nclient: 127.0.0.1", "From: a@example.org", "own"},
		{"this host, although not trusted", "trusted_networks = []", zone,
			"from: x@evil.example\nclient: 127.0.0.1", "From: a@example.org", "own"},
		{"a client without address", "", zone, "from: x@evil.example\nclient: unknown", "From: a@example.org",
			"550 5.7.1"},
		{"a customer's domain", `local_domains = ["example.org", "customer.example"]`, zone,
			"from: x@evil.example", "From: a@customer.example", "550 5.7.1"},
		{"not a customer's", "", zone, "from: x@evil.example", "From: a@customer.example", "judged"},
		{"forwarded by choice", "[dmarc]\non_own_domain_forgery = \"forward\"", zone, "from: x@evil.example",
			"From: a@example.org", "judged"},
		{"a stranger's failure", "", zone, "from: x@evil.example", "From: a@bank.example", "judged"},
		{"a stranger's failure, refused by choice", "[dmarc]\non_dmarc_fail = \"reject\"", zone,
			"from: x@evil.example", "From: a@bank.example", "550 5.7.1"},
		{"what passes is not refused", "[dmarc]\non_dmarc_fail = \"reject\"", zone, "from: a@bank.example",
			"From: a@bank.example", "judged"},
		{"policy none is not refused", "[dmarc]\non_dmarc_fail = \"reject\"", zone, "from: x@evil.example",
			"From: a@soft.example", "judged"},
		{"no DNS, and it could be refused", "[dmarc]\non_dmarc_fail = \"reject\"", zone,
			"from: x@deaf.example", "Date: {date -10m}\nFrom: a@deaf.example", "451 4.4.3"},
		{"no DNS, and it is under way for long", "[dmarc]\non_dmarc_fail = \"reject\"", zone,
			"from: x@deaf.example", "Date: {date -3h}\nFrom: a@deaf.example", "judged"},
		{"no DNS, and its date is far ahead", "[dmarc]\non_dmarc_fail = \"reject\"", zone,
			"from: x@deaf.example", "Date: {date 30h}\nFrom: a@deaf.example", "judged"},
		{"no DNS, and nothing tells its age", "[dmarc]\non_dmarc_fail = \"reject\"", zone,
			"from: x@deaf.example", "From: a@deaf.example", "judged"},
		{"no DNS, which could refuse nothing", "", zone, "from: x@deaf.example",
			"Date: {date -10m}\nFrom: a@deaf.example", "judged"},
		{"no DNS about our own SPF", "", zone + deafOwn, "from: a@example.org",
			"Date: {date -10m}\nFrom: a@example.org", "451 4.4.3"},
		{"no DNS about it for long", "", zone + deafOwn, "from: a@example.org",
			"Received: from a by b; {date -2h}\nDate: {date -10m}\nFrom: a@example.org", "judged"},
		{"no DNS about it for long, below a policy server's field", "", zone + deafOwn, "from: a@example.org",
			"Received: from a (b [192.0.2.25]) by mx.example.org (Postfix) with ESMTP id 4bXk2w1z; " +
				"{date 0m}\n" +
				"Received: from a by b; {date -2h}\nDate: {date -10m}\nFrom: a@example.org", "judged"},
		{"no DNS, and only its date is old, below a policy server's field", "", zone + deafOwn,
			"from: a@example.org",
			"Received: from a (b [192.0.2.25]) by mx.example.org (Postfix) with ESMTP id 4bXk2w1z; " +
				"{date 0m}\n" +
				"Date: {date -2h}\nFrom: a@example.org", "judged"},
		{"a header that is too long", "", zone, "from: a@bank.example",
			long + "Authentication-Results: mx.bank.example; dmarc=pass\nFrom: a@bank.example", "unread"},
		{"one that hides a claim", "", zone, "from: a@bank.example",
			long + "Authentication-Results:\n mx.example.org; dmarc=pass\nFrom: a@bank.example", "554 5.6.0"},
		{"one that begins with a claim", "", zone, "from: a@bank.example",
			"Authentication-Results: mx.example.org; dmarc=pass\nFrom: a@bank.example\n" + long + "X: x",
			"554 5.6.0"},
		{"one that hides a seal", "", zone, "from: a@bank.example",
			long + "From: a@bank.example\nX-Postmend-Arrival: v=1; b=x", "554 5.6.0"},
		{"one that hides a claim in a long comment", "", zone, "from: a@bank.example",
			long + "Authentication-Results: (" + strings.Repeat("x\n ", 30<<10) +
				") mx.example.org; dmarc=pass\nFrom: a@bank.example", "554 5.6.0"},
		{"one that hides a claim behind a long line", "", zone, "from: a@bank.example",
			long + "Authentication-Results: (" + strings.Repeat("x", 90<<10) +
				") mx.example.org; dmarc=pass\nFrom: a@bank.example", "554 5.6.0"},
		{"one of a user that hides a claim", "", zone, "from: a@bank.example\nsasl: alice",
			long + "Authentication-Results: mx.example.org; dmarc=pass\nFrom: a@bank.example", "unread"},
		{"one with a claim in its body", "", zone, "from: a@bank.example",
			long + "From: a@bank.example\n\nAuthentication-Results: mx.example.org; dmarc=pass", "unread"},
		{"a name that is trusted", `trusted_authserv_ids = ["gate.example.org"]`, zone,
			"from: x@evil.example",
			"Authentication-Results: gate.example.org; dmarc=pass header.from=example.org\n" +
				"From: a@example.org", "left"},
		{"too many claims", "", zone, "from: a@bank.example",
			strings.Repeat("Authentication-Results: mx.example.org; none\n", 101) + "From: a@bank.example",
			"554 5.6.0"},
	} {
		t.Run(row.name, func(t *testing.T) {
			j := w.judge(t, row.config, row.zone, row.envelope, w.expand(t, row.message))
			_, result, _ := strings.Cut(j.Log, "result=")
			got, _, _ := strings.Cut(result, " ")
			if f := j.Refusal; f != nil {
				reply := map[string]string{"5.7.1": "550", "5.6.0": "554", "4.4.3": "451"}[f.Code]
				got = reply + " " + f.Code
				if len(j.Add)+len(j.Remove) > 0 {
					t.Error("what is refused is changed")
				}
			}
			if got != row.want {
				t.Errorf("%s, want %s\n%s", got, row.want, j.Log)
			}
		})
	}
}

// judge has the milter judge a message with a body of one line.
func (w *world) judge(t *testing.T, config, zone, envelope, header string) Judgement {
	t.Helper()
	s := scenario{"config": config, "zone": zone}
	o := &outcome{env: readEnvelope(t, envelope+"\nto: box@example.org"), dns: w.dns(t, s)}
	o.config = w.config(t, s, o.dns.Addr(), "stdout:")
	o.arrived = header + "\nSubject: x\n\nx\n"
	f, err := New(o.config, Options{Now: func() time.Time { return w.now }})
	if err != nil {
		t.Fatal(err)
	}
	text := strings.ReplaceAll(o.arrived, "\n", "\r\n")
	j, err := f.Judge(context.Background(), o.env, strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return j
}

// TestASealedMessageIsBelievedForItsOwnArrivalOnly: whoever has a sealed message, out of a mailbox here, may
// send it in again while the milter is down, changed or not, or paste its fields on another one.
func TestASealedMessageIsBelievedForItsOwnArrivalOnly(t *testing.T) {
	t.Setenv("GODEBUG", "rsa1024min=0")
	const header = "From: Alice <alice@bank.example>\nTo: bob@remote.example\nSubject: hello\n" +
		"Date: Mon, 2 Nov 2026 10:00:00 +0000\nMessage-ID: <1@bank.example>\n"
	const zone = "bank.example TXT v=spf1 ip4:192.0.2.25 -all\n_dmarc.bank.example TXT v=DMARC1; p=reject\n"
	const envelope = "from: alice@bank.example\nto: bob@remote.example\nclient: 192.0.2.25\n" +
		"helo: mail.bank.example\n"
	w := newWorld(t)
	s := scenario{"zone": zone}
	sealed := func(t *testing.T) (*outcome, *exit) {
		e, target := startExit(t)
		o := &outcome{env: readEnvelope(t, envelope), dns: w.dns(t, s), arrived: header + "\nbody\n"}
		o.config = w.config(t, s, o.dns.Addr(), target)
		if !o.passTheDoor(t, w.now) {
			t.Fatal("refused")
		}
		return o, e
	}
	same := func(text string) string { return text }
	replace := func(old, new string) func(string) string {
		return func(text string) string {
			if !strings.Contains(text, old) {
				t.Fatalf("no %q in %q", old, text)
			}
			return strings.Replace(text, old, new, 1)
		}
	}
	for _, row := range []struct {
		name, envelope string
		change         func(string) string
		believed       bool
	}{
		{"its own arrival", envelope, same, true},
		{"a fold more", envelope, replace("Subject: hello", "Subject:\n hello"), true},
		{"another client", strings.Replace(envelope, ".25", ".66", 1), same, false},
		{"another HELO", strings.Replace(envelope, "helo: mail", "helo: mail2", 1), same, false},
		{"another sender", strings.Replace(envelope, "from: alice", "from: mallory", 1), same, false},
		{"null sender", strings.Replace(envelope, "from: alice@bank.example", "from:", 1), same, false},
		{"no client's address", strings.Replace(envelope, "192.0.2.25", "unknown", 1), same, false},
		{"another body", envelope, replace("\nbody", "\nforged"), false},
		{"another subject", envelope, replace("Subject: hello", "Subject: pay"), false},
		{"another author", envelope, replace("alice@bank.example>", "boss@bank.example>"), false},
		{"a second author", envelope, replace("Subject:", "From: boss@bank.example\nSubject:"), false},
		{"other results", envelope, replace("spf=pass", "spf=none"), false},
		{"a result more", envelope, replace(";\n\tdmarc", ";\n\tdkim=pass;\n\tdmarc"), false},
		{"another host's name", envelope,
			replace("Results: mx.example.org", "Results: mx2.example.org"), false},
		{"a second seal", envelope,
			replace("X-Postmend-Arrival:", "X-Postmend-Arrival: v=1; b=x\nX-Postmend-Arrival:"),
			false},
	} {
		t.Run(row.name, func(t *testing.T) {
			o, _ := sealed(t)
			f, err := New(o.config, Options{Now: func() time.Time { return w.now }})
			if err != nil {
				t.Fatal(err)
			}
			log, err := f.Run(context.Background(), readEnvelope(t, row.envelope),
				strings.NewReader(row.change(o.judged)))
			if got := log.known.Recalled != nil; got != row.believed {
				t.Errorf("believed: %v, want %v (%v)", got, row.believed, err)
			}
		})
	}
}

// What Sieve sends on with a sender of ours claims our domain in vain, also if the milter had no space for
// it. Without any seal, it would be a list's.
func TestWhatTheMilterCannotJudgeIsNotWrittenHere(t *testing.T) {
	t.Setenv("GODEBUG", "rsa1024min=0")
	w := newWorld(t)
	s := scenario{"zone": "_dmarc.example.org TXT v=DMARC1; p=reject\n"}
	const received = "Received: from mail.evil.example (mail.evil.example [192.0.2.66])\n" +
		"\tby mx.example.org (Postfix) with ESMTP id 4XYZ; Mon, 2 Nov 2026 10:00:00 +0000\n"
	for _, seal := range []string{"", "X-Postmend-Arrival: v=1; b=forged\n"} {
		_, target := startExit(t)
		o := &outcome{dns: w.dns(t, s), env: readEnvelope(t, "from: x@evil.example\nclient: 192.0.2.66\n"+
			"helo: mail.evil.example\nto: box@example.org")}
		o.config = w.config(t, s, o.dns.Addr(), target)
		o.config.Limits.SpoolDir = filepath.Join(t.TempDir(), "missing")
		text := seal + "From: boss@example.org\nSubject: x\n\n" + strings.Repeat("body\n", 50_000)
		f, err := New(o.config, Options{Now: func() time.Time { return w.now }})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Judge(context.Background(), o.env, strings.NewReader(text)); err == nil {
			t.Fatal("judged without space")
		}
		text = "Received: by mx.example.org (Postfix, from userid 1000) id 4XYZ2; " +
			"Mon, 2 Nov 2026 10:00:01 +0000\n" + received + applied(t, text, f.Unjudged(o.env))
		env := readEnvelope(t, "from: box@example.org\nto: c@remote.example\nclient: none")
		_, err = f.Run(context.Background(), env, strings.NewReader(text))
		if err == nil || cause.AsFailure(err).Cause != cause.OwnDomainForged {
			t.Errorf("%v, want a refusal", err)
		}
	}
}

func TestOwnMailIsPurgedOnly(t *testing.T) {
	t.Setenv("GODEBUG", "rsa1024min=0")
	w := newWorld(t)
	forged := "Authentication-Results: mx.example.org; dmarc=pass header.from=bank.example\n" +
		"Authentication-Results: other.example; dmarc=pass\nX-Postmend-Arrival: v=1; t=1; b=Zm9yZ2Vk\n"
	j := w.judge(t, "", "", "from: x@example.org\nsasl: alice", forged+"From: x@example.org")
	if len(j.Add) > 0 ||
		!slices.Equal(j.Remove, []FieldAt{{"Authentication-Results", 1}, {"X-Postmend-Arrival", 1}}) {
		t.Errorf("%+v", j)
	}
	// A seal that does not hold says that a message has been elsewhere: who sends it on by SMTP on this host
	// keeps it.
	j = w.judge(t, "", "", "from: box@example.org\nclient: 127.0.0.1", forged+"From: x@example.org")
	if len(j.Add) > 0 || !slices.Equal(j.Remove, []FieldAt{{"Authentication-Results", 1}}) {
		t.Errorf("%+v", j)
	}
	// A redirect over SMTP keeps what was sealed here.
	s := scenario{"zone": "bank.example TXT v=spf1 ip4:192.0.2.25 -all\n_dmarc.bank.example TXT v=DMARC1; " +
		"p=reject\n"}
	o := &outcome{env: readEnvelope(t, "from: a@bank.example\nto: box@example.org"), dns: w.dns(t, s),
		arrived: "From: a@bank.example\nSubject: x\n\nx\n"}
	o.config = w.config(t, s, o.dns.Addr(), "stdout:")
	if !o.passTheDoor(t, w.now) {
		t.Fatal("refused")
	}
	o.env, o.arrived = readEnvelope(t, "from: a@bank.example\nto: c@remote.example\nclient: 127.0.0.1"),
		o.judged
	if o.passTheDoor(t, w.now); len(o.door.Remove)+len(o.door.Add) > 0 || o.door.Refusal != nil {
		t.Errorf("%+v", o.door)
	}
}
