// Package receiver is a strict receiver made of other people's verifiers: pyspf and dkimpy, with DMARC (RFC
// 7489) on top.
package receiver

import (
	_ "embed"
	"net/mail"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/net/publicsuffix"

	"postmend/dkim"
	"postmend/tests/judge"
	"postmend/tests/peer"
)

//go:embed spf.py
var pyspf string

// Signature is a DKIM-Signature, and dkimpy's verdict on it.
type Signature struct {
	Domain, Algorithm string
	Passed            bool
}

// Evaluation is what a receiver makes of an arrival.
type Evaluation struct {
	Author     string // the domain of From:, "" if there is not exactly one
	Policy     string // that applies to it: none, quarantine or reject; "" if it has published nothing
	SPF        string // pyspf's result for the sender, or for the HELO name if the sender is null
	Signatures []Signature
	AlignedSPF bool // SPF passed, for a domain that is aligned with Author
	// Aligned are those of the signatures that passed and are aligned with Author.
	Aligned []Signature
}

// Passed is DMARC's result. Without a policy there is none.
func (e Evaluation) Passed() bool { return e.Policy != "" && (e.AlignedSPF || len(e.Aligned) > 0) }

// DMARC evaluates arrivals as most receivers do (RFC 7489: organisational domains by the public suffix
// list), on SPF results of pyspf and DKIM results of dkimpy. The zone is in dnsserver's form; of names with
// several TXT records, these see the last.
func DMARC(t testing.TB, zone string, arrivals []judge.Arrival) []Evaluation {
	t.Helper()
	records := map[string]string{}
	for line := range strings.Lines(zone) {
		if words := strings.SplitN(strings.TrimSpace(line), " ", 3); len(words) == 3 && words[1] == "TXT" {
			records[strings.ToLower(words[0])] = words[2]
		}
	}
	messages := make([][]byte, len(arrivals))
	for n, arrival := range arrivals {
		messages[n] = arrival.Content
	}
	spf, verdicts := SPF(t, zone, arrivals), judge.New(t, records, messages).DKIMPy()
	evaluations := make([]Evaluation, len(arrivals))
	for n, arrival := range arrivals {
		header, _ := dkim.SplitHeader(arrival.Content)
		e := Evaluation{Author: authorDomain(header), SPF: spf[n],
			Signatures: signatures(t, header, verdicts[n])}
		e.align(records, arrival)
		evaluations[n] = e
	}
	return evaluations
}

// SPF is pyspf's result for each arrival, in RFC 8601's words.
func SPF(t testing.TB, zone string, arrivals []judge.Arrival) []string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "zone")
	if err := os.WriteFile(path, []byte(zone), 0o644); err != nil {
		t.Fatal(err)
	}
	var questions strings.Builder
	for _, a := range arrivals {
		questions.WriteString(a.Address + "\t" + a.HELO + "\t" + a.Sender + "\n")
	}
	cmd := exec.Command(peer.Need(t, "python3"), "-c", pyspf, path)
	cmd.Stdin, cmd.Stderr = strings.NewReader(questions.String()), os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("pyspf: %v", err)
	}
	results := strings.Fields(string(out))
	if len(results) != len(arrivals) {
		t.Fatalf("pyspf: %d results on %d arrivals", len(results), len(arrivals))
	}
	return results
}

// authorDomain is "" if From: has not exactly one address: there is nothing then that could be aligned (RFC
// 7489 section 6.6.1).
func authorDomain(header dkim.Header) string {
	var values []string
	for _, field := range header {
		if field.Is("From") {
			values = append(values, string(field.Value()))
		}
	}
	if len(values) != 1 {
		return ""
	}
	list, err := mail.ParseAddressList(strings.NewReplacer("\r\n", "").Replace(values[0]))
	if err != nil || len(list) != 1 {
		return ""
	}
	return strings.ToLower(list[0].Address[strings.LastIndexByte(list[0].Address, '@')+1:])
}

// signatures puts dkimpy's verdicts beside what the fields say.
func signatures(t testing.TB, header dkim.Header, verdicts []string) (list []Signature) {
	t.Helper()
	for _, field := range header {
		if !field.Is("DKIM-Signature") {
			continue
		}
		if len(list) == len(verdicts) {
			t.Fatalf("dkimpy: %d verdicts, and more signatures", len(verdicts))
		}
		said := tags(string(field.Value()))
		s := Signature{Domain: strings.ToLower(said["d"]), Algorithm: said["a"],
			Passed: verdicts[len(list)] == "pass"}
		list = append(list, s)
	}
	return list
}

// align finds the policy (RFC 7489 section 6.6.3) and what is aligned under it.
func (e *Evaluation) align(records map[string]string, arrival judge.Arrival) {
	if e.Author == "" {
		return
	}
	record, policy := dmarcRecord(records, e.Author), "p"
	if record == nil {
		record = dmarcRecord(records, organisational(e.Author))
		if record["sp"] != "" {
			policy = "sp"
		}
	}
	if record == nil {
		return
	}
	e.Policy = record[policy]
	identity := arrival.Sender
	if identity == "" {
		identity = arrival.HELO
	}
	domain := identity[strings.LastIndexByte(identity, '@')+1:]
	e.AlignedSPF = e.SPF == "pass" && isAligned(record["aspf"], domain, e.Author)
	for _, s := range e.Signatures {
		if s.Passed && isAligned(record["adkim"], s.Domain, e.Author) {
			e.Aligned = append(e.Aligned, s)
		}
	}
}

// dmarcRecord is nil if there is none.
func dmarcRecord(records map[string]string, domain string) map[string]string {
	record := records["_dmarc."+domain]
	if !strings.HasPrefix(record, "v=DMARC1") {
		return nil
	}
	return tags(record)
}

// tags reads a list of tags, such as DMARC records and DKIM signatures are.
func tags(text string) map[string]string {
	list := map[string]string{}
	for tag := range strings.SplitSeq(text, ";") {
		name, value, _ := strings.Cut(tag, "=")
		list[strings.TrimSpace(name)] = strings.TrimSpace(value)
	}
	return list
}

// isAligned is RFC 7489 section 3.1; mode is "s" or, for relaxed, anything else.
func isAligned(mode, domain, author string) bool {
	domain = strings.ToLower(domain)
	return domain == author || mode != "s" && organisational(domain) == organisational(author)
}

func organisational(domain string) string {
	if org, err := publicsuffix.EffectiveTLDPlusOne(domain); err == nil {
		return org
	}
	return domain
}
