package tests

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"postmend/tests/mta"
	"postmend/tests/peer"
)

// counts are those of a row of the report.
type counts struct {
	Delivered, Deferred, Refused, Discarded int
	PutOff                                  int `json:"put_off"`
	Classes                                 map[string]int
}

// reportData is the part of the report's JSON form that these tests look at.
type reportData struct {
	Kinds   map[string]counts
	Log     struct{ Notices, Evicted, Lost int }
	Classes []struct {
		Class             string
		Refused, Deferred int
	}
	Domains   rows `json:"sender_domains"`
	Receivers rows
	Aliases   rows
	Advice    []struct {
		Class, Advice string
		Count         int
		Domains       []string `json:"sender_domains"`
	}
	Strict []struct {
		Domain  string
		Refused int
	} `json:"strict_domains"`
	Filter, Program struct {
		Runs        int
		Median, Max float64
	}
}

type rows struct {
	Rows []struct {
		Name string
		counts
	}
}

// tell gives the rows in one line each: "name delivered deferred refused class=n …".
func (r rows) tell() []string {
	var list []string
	for _, row := range r.Rows {
		line := fmt.Sprintf("%s %d %d %d", row.Name, row.Delivered, row.Deferred, row.Refused)
		var classes []string
		for class, n := range row.Classes {
			classes = append(classes, fmt.Sprintf(" %s=%d", class, n))
		}
		slices.Sort(classes)
		list = append(list, line+strings.Join(classes, ""))
	}
	slices.Sort(list)
	return list
}

// aliases of the report's forwarder: each goes to the same local part elsewhere.
func reportAliases() string {
	var list []string
	for local := range refusals {
		list = append(list, fmt.Sprintf("%s@example.org=%[1]s@mail.example.com", local))
	}
	slices.Sort(list)
	return strings.Join(append(list, "ok@example.org=ok@mail.example.net"), ", ")
}

func TestReportCountsEveryMessageOnceAndChargesItToTheRightDomain(t *testing.T) {
	t.Parallel()
	f := start(t)
	refuser := startRefuser(t)
	f.postconf("relayhost=[127.0.0.1]:"+refuser.port, "virtual_alias_maps=inline:{ "+reportAliases()+" }",
		"smtpd_recipient_limit=100")
	f.configure("[reinject]",
		"[dmarc]\nmunge_from = \"never\"\nforce_munge = [\"munged.example\"]\n[reinject]")
	f.check(f.dns.Add("_dmarc.kept.example TXT v=DMARC1; p=reject\n" +
		"kept.example TXT v=spf1 ip4:192.0.2.25 -all\n_dmarc.munged.example TXT v=DMARC1; p=reject\n" +
		"munged.example TXT v=spf1 ip4:192.0.2.25 -all\n_dmarc.failed.example TXT v=DMARC1; p=reject\n" +
		"failed.example TXT v=spf1 -all\n_dmarc.example.org TXT v=DMARC1; p=reject\n"))
	own := f.syslog()

	f.submitForReport()
	grey := f.WaitLog(0, `(\w+): to=<grey@mail.example.com>.* relay=127.* status=deferred`)[1]
	f.WaitLog(0, `to=<busy@mail.example.com>.* relay=127.* status=deferred`)
	f.Retry(grey)
	f.WaitLog(0, grey+`: removed`)
	f.waitQueue(1)

	log := f.withOwnLines(own)
	path := filepath.Join(f.Dir, "mail.log")
	f.check(os.WriteFile(path, log, 0o644))
	if keep := os.Getenv("POSTMEND_KEEP_LOG"); keep != "" {
		f.check(os.WriteFile(keep, log, 0o644))
	}
	files := map[string]string{}
	args := []string{"--json", "--top", "100"}
	for _, flag := range []string{"html", "prometheus", "strict-domains"} {
		files[flag] = filepath.Join(f.Dir, flag)
		args = append(args, "--"+flag, files[flag])
	}
	var got reportData
	f.check(json.Unmarshal(f.report(append(args, path)...), &got))

	wantCounts(t, got)
	n := strings.Count(string(log), "/pipe[")
	if got.Filter.Runs == 0 || got.Filter.Runs > n || got.Filter.Median <= 0 || got.Program.Runs == 0 {
		t.Errorf("filter %+v, postmend %+v, %d lines of pipe(8)", got.Filter, got.Program, n)
	}

	f.checkStrictDomains(files["strict-domains"], path)
	f.checkMetrics(files["prometheus"])
	f.checkPage(files["html"])
	text := string(f.report(path))
	if strings.ContainsRune(text, '\x1b') || !strings.Contains(text, "forwarded") ||
		!strings.Contains(text, "computer says no") {
		t.Errorf("the report for people:\n%s", text)
	}
}

// submitForReport sends one message or more of each kind.
func (f *forwarder) submitForReport() {
	f.t.Helper()
	submit := func(from, xclient string, to ...string) {
		author := from
		switch {
		case from == "" || strings.HasPrefix(from, "SRS"):
			author = "mailer@sender.example"
		case from == "mallory@attacker.example":
			author = "boss@example.org" // refused by postmend itself
		}
		mta.Submit(f.t, f.smtp, mta.Mail{From: from, To: to, XClient: xclient,
			Content: []byte("From: " + author + "\nSubject: test\n\nHello.\n")})
	}
	at := func(local string) string { return local + "@example.org" }
	submit("alice@sender.example", stranger, at("ok"))
	submit("alice@sender.example", stranger, at("ok"), at("spam"), "box@example.org")
	submit("bob@sender.example", stranger, at("nobody"))
	submit("bob@kept.example", stranger, at("gmail-dmarc"))
	submit("bob@kept.example", stranger, at("microsoft-dmarc"))
	submit("bob@munged.example", stranger, at("gmail-dmarc"))
	submit("bob@failed.example", stranger, at("gmail-dmarc"))
	submit("carol@silent.example", stranger, at("spf"))
	submit("carol@silent.example", stranger, at("dkim"))
	submit("carol@silent.example", stranger, at("neither"))
	submit("dave@other.example", stranger, at("full"), at("ptr"), at("blocked"))
	submit("dave@other.example", stranger, at("odd"))
	submit("SRS0=abcd=AA=origin.example=erin@relay.example", stranger, at("nobody"))
	submit("", stranger, at("nobody"))
	submit("", stranger, at("ok"))
	submit("", stranger, srsAddress("frank@origin.example", time.Now()))
	submit("mallory@attacker.example", stranger, at("ok"))
	submit("box@example.org", "", "friend@mail.example.net")
	submit("box@example.org", "", "nobody@mail.example.net")
	submit("alice@sender.example", stranger, "box@example.org")
	submit(`"a> status=sent ("@quoted.example`, stranger, at("spam"))
	submit("grace@sender.example", stranger, at("grey"))
	submit("grace@sender.example", stranger, at("busy"))
}

// wantCounts checks what is counted of the messages of submitForReport.
func wantCounts(t *testing.T, got reportData) {
	t.Helper()
	for kind, want := range map[string]counts{
		"forwarded": {Delivered: 4, Deferred: 1, Refused: 17, PutOff: 2},
		"local":     {Delivered: 2},
		"outgoing":  {Delivered: 1, Refused: 1},
		"returned":  {Delivered: 1},
	} {
		if g := got.Kinds[kind]; fmt.Sprint(g) != fmt.Sprint(want) {
			t.Errorf("%s: %+v, want %+v", kind, g, want)
		}
	}
	if got.Log.Lost != 0 || got.Log.Evicted != 0 || got.Log.Notices == 0 {
		t.Errorf("%+v", got.Log)
	}
	wantRows(t, "sender domains", got.Domains,
		"<> 1 0 1 mailbox=1", "attacker.example 0 0 1 own=1", "failed.example 0 0 1 dmarc=1",
		"kept.example 0 0 2 dmarc=2", "munged.example 0 0 1 dmarc=1", "origin.example 0 0 1 mailbox=1",
		"other.example 0 0 4 full=1 other=1 ptr-tls=1 reputation=1", "quoted.example 0 0 1 content=1",
		"sender.example 3 1 2 content=1 mailbox=1 server=1",
		"silent.example 0 0 3 dkim=1 spf=1 unauthenticated=1")
	wantRows(t, "receivers", got.Receivers, "example.net 3 0 0", "this host 0 0 1 own=1",
		"example.com 1 1 16 content=2 dkim=1 dmarc=4 full=1 mailbox=3 other=1 ptr-tls=1 reputation=1 "+
			"server=1 spf=1 unauthenticated=1")
	wantRows(t, "aliases", got.Aliases,
		"blocked@example.org 0 0 1 reputation=1", "busy@example.org 0 1 0 server=1",
		"dkim@example.org 0 0 1 dkim=1", "full@example.org 0 0 1 full=1",
		"gmail-dmarc@example.org 0 0 3 dmarc=3", "grey@example.org 1 0 0",
		"microsoft-dmarc@example.org 0 0 1 dmarc=1", "neither@example.org 0 0 1 unauthenticated=1",
		"nobody@example.org 0 0 3 mailbox=3", "odd@example.org 0 0 1 other=1", "ok@example.org 3 0 1 own=1",
		"ptr@example.org 0 0 1 ptr-tls=1", "spam@example.org 0 0 2 content=2", "spf@example.org 0 0 1 spf=1")
	wantAdvice(t, got, "kept.example", `From: was not rewritten (munge_from is "never")`)
	wantAdvice(t, got, "munged.example", "From: was rewritten to an address in example.org")
	wantAdvice(t, got, "failed.example", "had failed DMARC when they arrived")
	wantAdvice(t, got, "silent.example", "sender in srs.example.org, whose SPF record")
	wantAdvice(t, got, "silent.example", "signed as example.org/rsa")
}

func wantAdvice(t *testing.T, got reportData, domain, want string) {
	t.Helper()
	for _, advice := range got.Advice {
		if slices.Contains(advice.Domains, domain) && strings.Contains(advice.Advice, want) {
			return
		}
	}
	t.Errorf("%s: no advice says %q: %+v", domain, want, got.Advice)
}

// checkStrictDomains: the list has the one domain for which rewriting From: would have helped, [dmarc]
// takes it, and a second report adds nothing and takes nothing away.
func (f *forwarder) checkStrictDomains(list, log string) {
	f.t.Helper()
	text, err := os.ReadFile(list)
	f.check(err)
	var domains []string
	for line := range strings.Lines(string(text)) {
		if !strings.HasPrefix(line, "#") {
			domains = append(domains, strings.TrimSpace(line))
		}
	}
	if !slices.Equal(domains, []string{"kept.example"}) {
		f.t.Errorf("strict domains %q", domains)
	}
	f.check(os.WriteFile(list, append([]byte("mine.example\n"), text...), 0o600))
	f.report("--strict-domains", list, log)
	again, err := os.ReadFile(list)
	f.check(err)
	if string(again) != "mine.example\n"+string(text) {
		f.t.Errorf("after another report the list is %q", again)
	}
	f.configure("force_munge = [\"munged.example\"]", "force_munge_file = \""+list+"\"")
	cmd := exec.Command(f.program, "explain", "-c", f.config, "-f", "a@kept.example", "--client-address",
		"192.0.2.25", "--original-recipient", "alias@example.org", "--", "b@mail.example.com")
	cmd.Stdin = strings.NewReader("From: a@kept.example\n\nHello.\n")
	if out, err := cmd.CombinedOutput(); err != nil ||
		!strings.Contains(string(out), "From: rewritten: the configuration requires it") {
		f.t.Errorf("with the list as force_munge_file: %v\n%s", err, out)
	}
}

// checkMetrics: Prometheus's own parser takes the file, and the counters say what the report does.
func (f *forwarder) checkMetrics(path string) {
	f.t.Helper()
	out := f.python(`
import sys
from prometheus_client.parser import text_string_to_metric_families
for family in text_string_to_metric_families(open(sys.argv[1]).read()):
    for sample in family.samples:
        print(family.type, sample.name, sorted(sample.labels.items()), int(sample.value))
`, path)
	for _, want := range []string{
		"counter postmend_report_recipients_total [('kind', 'forwarded'), ('outcome', 'refused')] 17\n",
		"counter postmend_report_recipients_total [('kind', 'returned'), ('outcome', 'discarded')] 0\n",
		"counter postmend_report_refusals_total [('class', 'dmarc')] 4\n",
		"counter postmend_report_refusals_total [('class', 'loop')] 0\n",
		"counter postmend_report_put_off_total [('kind', 'forwarded')] 2\n",
		"summary postmend_report_filter_seconds_count [] ",
	} {
		if !strings.Contains(out, want) {
			f.t.Errorf("no %q in\n%s", want, out)
		}
	}
}

// checkPage: html5lib finds no error in the page, which refers to nothing outside itself and shows what a
// log says as text only.
func (f *forwarder) checkPage(path string) {
	f.t.Helper()
	out := f.python(`
import sys, html5lib
parser = html5lib.HTMLParser(strict=True)
tree = parser.parse(open(sys.argv[1], "rb"))
for element in tree.iter():
    for name, value in element.attrib.items():
        loads = name in ("src", "href", "style", "srcset", "data", "xlink:href")
        if loads and not value.startswith("#") or name.startswith("on"):
            print("refers:", element.tag, name, value)
    tag = element.tag.split("}")[-1] if isinstance(element.tag, str) else ""
    if tag in ("script", "link", "iframe", "img", "object", "base"):
        print("has:", element.tag)
    if element.text and "status=sent (" in element.text and "quoted.example" not in element.text:
        print("text:", element.text)
print("domains:", [row[0].text for row in tree.iter("{http://www.w3.org/1999/xhtml}tr") if row[0].text])
`, path)
	if strings.Contains(out, "refers:") || strings.Contains(out, "has:") ||
		!strings.Contains(out, "'kept.example'") || !strings.Contains(out, "'<>'") {
		f.t.Errorf("the page: %s", out)
	}
}

func (f *forwarder) python(program string, args ...string) string {
	f.t.Helper()
	cmd := exec.Command(peer.Need(f.t, "python3"), append([]string{"-c", program}, args...)...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		f.t.Fatalf("python3: %v\n%s", err, out)
	}
	return string(out)
}

func wantRows(t *testing.T, what string, got rows, want ...string) {
	t.Helper()
	slices.Sort(want)
	if lines := got.tell(); !slices.Equal(lines, want) {
		t.Errorf("%s:\n%s\nwant\n%s", what, strings.Join(lines, "\n"), strings.Join(want, "\n"))
	}
}

// postconf changes main.cf of the running Postfix.
func (f *forwarder) postconf(settings ...string) {
	f.t.Helper()
	args := append([]string{"-c", f.Dir, "-e"}, settings...)
	if out, err := exec.Command("postconf", args...).CombinedOutput(); err != nil {
		f.t.Fatalf("postconf %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	f.Reload()
}

// waitQueue waits until Postfix holds no more than n messages.
func (f *forwarder) waitQueue(n int) {
	f.t.Helper()
	for started := time.Now(); len(f.Queue()) > n; {
		if time.Since(started) > mta.Patience {
			f.t.Fatalf("the queue still has %v", f.Queue())
		}
	}
}

// withOwnLines gives the mail log with postmend's lines in it, as a syslog daemon would have put them: each
// before the line of pipe(8) that tells how the run ended.
func (f *forwarder) withOwnLines(own <-chan string) []byte {
	f.t.Helper()
	host, err := os.Hostname()
	f.check(err)
	lines := map[string][]string{} // by queue id
	for _, line := range f.logged(own) {
		found := regexp.MustCompile(`^<22>(.{15}) (postmend\[\d+\]: (\w+): .*)`).FindStringSubmatch(line)
		if found != nil {
			lines[found[3]] = append(lines[found[3]], found[1]+" "+host+" "+found[2])
		}
	}
	var log bytes.Buffer
	piped := regexp.MustCompile(`/pipe\[\d+\]: (\w+): to=`)
	for line := range strings.Lines(f.Log() + "\n") {
		if found := piped.FindStringSubmatch(line); found != nil {
			for _, mended := range lines[found[1]] {
				log.WriteString(mended + "\n")
			}
			delete(lines, found[1])
		}
		log.WriteString(line)
	}
	for id := range lines {
		f.t.Errorf("no line of pipe(8) about %s, which postmend had", id)
	}
	return log.Bytes()
}

// report runs postmend report.
func (f *forwarder) report(args ...string) []byte {
	f.t.Helper()
	cmd := exec.Command(f.program, append([]string{"report"}, args...)...)
	var complaint bytes.Buffer
	cmd.Stderr = &complaint
	out, err := cmd.Output()
	if err != nil {
		f.t.Fatalf("postmend report %s: %v\n%s", strings.Join(args, " "), err, complaint.String())
	}
	return out
}
