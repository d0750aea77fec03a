package tally_test

import (
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"postmend/filter/cause"
	"postmend/postfix/maillog"
	"postmend/postfix/maillog/refusal"
	"postmend/postfix/maillog/tally"
)

func newTally(t testing.TB) *tally.Tally {
	t.Helper()
	rules, err := refusal.New("")
	if err != nil {
		t.Fatal(err)
	}
	return tally.New(rules)
}

func refused(sender, recipient, reason string, at int64) *maillog.Outcome {
	return &maillog.Outcome{At: at, Kind: maillog.Forwarded, Status: maillog.Refused, Sender: sender,
		Recipient: recipient, Alias: "x" + recipient, Relay: "mx." + recipient[2:], Reason: reason,
		Run: &maillog.Run{HeaderFrom: sender[2:], DMARC: "pass"}}
}

// A spammer makes up domains without end; who is refused again and again must still be seen, nothing may
// get lost in the sums, and memory must not grow.
func TestTablesStayBoundedAndKeepWhoIsRefusedMost(t *testing.T) {
	tl := newTally(t)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	const strangers, regular = 60_000, 5_000
	for n := range strangers {
		tl.Add(refused(fmt.Sprintf("a@%d.example", n), fmt.Sprintf("b@%d.test", n),
			fmt.Sprintf("550 5.7.26 DMARC %d", n), int64(n)*3600))
		if n%(strangers/regular) == 0 {
			tl.Add(refused("a@regular.example", "b@gmail.test", "550 5.7.509 DMARC", int64(n)*3600))
		}
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if used := int64(after.HeapAlloc) - int64(before.HeapAlloc); used > 16<<20 {
		t.Errorf("%d MB are kept", used>>20)
	}
	report := tl.Report(maillog.Stats{First: 1, Last: strangers * 3600}, 10)
	for name, table := range map[string]tally.Table{"domains": report.Domains, "receivers": report.Receivers,
		"aliases": report.Aliases} {
		sum := table.Others.Refused
		for _, row := range table.Rows {
			sum += row.Refused
		}
		if len(table.Rows) != 10 || table.Rows[0].Refused != regular || sum != strangers+regular {
			t.Errorf("%s: first %+v, %d in all; want %d and %d", name, table.Rows[0], sum, regular,
				strangers+regular)
		}
	}
	var sum int64
	for _, n := range report.Series.Refused {
		sum += n
	}
	if len(report.Series.Refused) > 4*768 || sum != strangers+regular {
		t.Errorf("over time: %d steps with %d refusals", len(report.Series.Refused), sum)
	}
	if len(report.Strict) > 4096 {
		t.Errorf("%d strict domains", len(report.Strict))
	}
}

// because is a line of postmend's with these causes.
func because(dmarc string, causes ...cause.Cause) *maillog.Run {
	m := &maillog.Run{DMARC: dmarc}
	for _, c := range causes {
		m.Why = append(m.Why, c.Code())
	}
	return m
}

func TestAdviceFitsWhatPostmendKnew(t *testing.T) {
	for _, c := range []struct {
		name, reason string
		run          *maillog.Run
		want         string
	}{
		{"no line of postmend's", "550 5.7.26 DMARC", nil, "postmend logged nothing about these messages"},
		{"failed on arrival", "550 5.7.26 DMARC", &maillog.Run{DMARC: "fail"}, "at SMTP time"},
		{"From: left alone", "550 5.7.26 DMARC", because("pass", cause.FromSurvivor, cause.SenderRewritten),
			"From: was not rewritten (the author's signature was expected to survive). To have it"},
		{"rewriting forbidden", "550 5.7.26 DMARC", because("pass", cause.FromForbidden), "Remove them"},
		{"From: rewritten", "550 5.7.26 DMARC",
			&maillog.Run{DMARC: "pass", NewFrom: "info@example.org", Signed: "example.org/s"},
			"From: was rewritten to an address in example.org, and signed as example.org/s"},
		{"SRS", "550 SPF check failed", &maillog.Run{Sender: "SRS0=x=y=a.example=a@srs.example.org"},
			"sender in srs.example.org, whose SPF record has to allow this host"},
		{"no SRS", "550 SPF check failed", because("", cause.SenderWithoutSRS),
			"The sender was not rewritten (no [srs] is configured)"},
		{"signed", "550 bad DKIM signature", &maillog.Run{Signed: "example.org/s"},
			"postmend signed as example.org/s"},
		{"not signed", "550 bad DKIM signature", because("pass", cause.UnsignedForbidden),
			"did not sign these messages (the author's signature forbids another one)"},
		{"a redirect of Sieve's", "550 5.7.26 DMARC",
			&maillog.Run{Class: "outgoing", Sender: "SRS0=x=y=a.example=a@srs.example.org"},
			"A local program, such as Sieve"},
		{"reputation", "554 blocked using zen.spamhaus.org", nil, "block list"},
	} {
		tl := newTally(t)
		o := refused("a@a.example", "b@b.example", c.reason, time.Now().Unix())
		o.Run = c.run
		tl.Add(o)
		advice := tl.Report(maillog.Stats{}, 10).Remedies
		if len(advice) != 1 || !strings.Contains(advice[0].Text, c.want) {
			t.Errorf("%s: %+v, want %q", c.name, advice, c.want)
		}
	}
}

// Forwards that local(8) makes pass no content filter: content_filter is not what is missing.
func TestForwardsOfLocalAreToldApartFromThoseThatPostmendMissed(t *testing.T) {
	tl := newTally(t)
	o := refused("a@a.example", "b@b.example", "550 5.7.26 DMARC", time.Now().Unix())
	o.Run, o.FromLocal = nil, true
	tl.Add(o)
	advice := tl.Report(maillog.Stats{}, 10).Remedies
	const want = "alias(5) and .forward files pass no content filter"
	if len(advice) != 1 || advice[0].Cause != "local-forward" || !strings.Contains(advice[0].Text, want) {
		t.Errorf("%+v", advice)
	}
}

// silent are the causes that no advice goes by, beside those of mail that was not handed back: they do not
// make a receiver refuse mail, or another key of the line has it.
var silent = []cause.Cause{
	cause.SRSValid, cause.SRSTakenBack, cause.SRSLeftToPostfix, cause.ForOthers, cause.StaysHere,
	cause.Requeued, cause.Unchanged, cause.SenderRewritten, cause.SenderDisowned, cause.SenderDoubtful,
	cause.SenderStored, cause.FailedDiscarded, cause.SpamDiscarded, cause.SpamRedirected,
	cause.FromUnproved, cause.FromForced, cause.FromWithoutRecord, cause.FromWithoutProof,
	cause.FromDoubtful, cause.FromRewritten, cause.FromCandidate, cause.FromTrustedBySPF,
	cause.FromTrustedByNetwork,
	cause.FromTrustedBySealer, cause.ChainUntrusted,
	cause.Folded, cause.UnsealedChain, cause.UnsealedDNS,
	cause.UnsealedForbidden, cause.UnsealedNoKey, cause.UnsealedNeedless, cause.UnsealedInvalid,
	cause.CutShort, cause.NextHop, cause.OriginSealed, cause.ArrivalUnsealed,
	cause.NoneAligned, cause.LongLine, cause.KeyTesting, cause.KeyAmbiguous, cause.Ed25519Only,
	cause.SignatureDisputed,
	cause.CoverageUnknown, cause.BareCR, cause.SealCovered, cause.ResultsCovered, cause.DroppedCovered,
}

func TestSendersThatDoNotFitAreCounted(t *testing.T) {
	tl := newTally(t)
	add := func(c cause.Cause, status maillog.Status) {
		o := refused("a@a.example", "b@b.example", "", time.Now().Unix())
		o.Status, o.Run = status, because("pass", c)
		tl.Add(o)
	}
	add(cause.SenderStored, maillog.Delivered)
	add(cause.SenderTooLong, maillog.Delivered)
	add(cause.SenderRouted, maillog.Delivered)
	add(cause.SenderNotStored, maillog.Delivered)
	add(cause.SenderRewritten, maillog.Delivered)
	if got, want := tl.Report(maillog.Stats{}, 10).Unfit, (tally.Unfit{Aliases: 1, Kept: 3}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
}

func TestEachCauseHasACodeAndItsPlaceInTheReport(t *testing.T) {
	codes := map[string]bool{}
	for _, c := range cause.All() {
		code := c.Code()
		if code == "" || strings.Trim(code, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" || codes[code] {
			t.Errorf("cause %d has the code %q", c, code)
		}
		codes[code] = true
		told := false
		for _, reason := range []string{"550 SPF check failed", "550 5.7.26 DMARC",
			"550 bad DKIM signature"} {
			tl := newTally(t)
			o := refused("a@a.example", "b@b.example", reason, time.Now().Unix())
			o.Run = because("pass", c)
			tl.Add(o)
			told = told || tl.Report(maillog.Stats{}, 10).Remedies[0].Cause == code
		}
		if told == (slices.Contains(silent, c) || c >= cause.Failed) {
			t.Errorf("%s: the report goes by it: %v", code, told)
		}
	}
}
