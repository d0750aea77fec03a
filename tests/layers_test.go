package tests

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// layers are the packages and what each imports of this module, as docs/contributing.md says. Those of tests/
// may import everything, and nothing imports them.
var layers = map[string][]string{
	"srs":       nil,
	"srs/store": {"srs"},
	"dkim":      nil,
	"dkim/arc":  {"dkim"},
	"reinject":  nil,

	"filter/domain/publicsuffix": nil,
	"filter/domain":              {"filter/domain/publicsuffix"},
	"filter/message/author":      {"dkim", "filter/domain"},
	"filter/message":             {"dkim", "filter/message/author"},
	"filter/arrival":             {"dkim", "filter/message/author"},
	"filter/authn/dns":           nil,
	"filter/authn/spf":           nil,
	"filter/authn/dnsserver":     nil,
	"filter/authn": {"dkim", "dkim/arc", "filter/authn/dns", "filter/authn/spf", "filter/domain",
		"filter/domain/publicsuffix"},
	"filter/cause": nil,
	"filter/config": {"srs", "srs/store", "dkim", "reinject", "filter/cause", "filter/domain",
		"filter/message/author"},
	"filter/confine": {"reinject", "srs/store", "filter/config"},
	"filter/plan": {"srs", "dkim", "dkim/arc", "filter/arrival", "filter/authn", "filter/cause",
		"filter/config", "filter/domain", "filter/message", "filter/message/author"},
	"filter": {"srs", "srs/store", "dkim", "dkim/arc", "reinject", "filter/arrival", "filter/authn",
		"filter/cause", "filter/config", "filter/confine", "filter/domain", "filter/message",
		"filter/message/author", "filter/plan"},

	"postfix":           nil,
	"postfix/milter":    {"postfix"},
	"postfix/lmtp":      {"postfix"},
	"postfix/wholefile": nil,
	"postfix/postconf":  nil,
	"postfix/layout":    {"reinject"},
	"postfix/access":    {"postfix/layout", "postfix/postconf"},
	"postfix/setup": {"postfix", "postfix/access", "srs/store", "dkim", "filter/config",
		"filter/domain/publicsuffix", "postfix/layout", "postfix/postconf", "postfix/wholefile"},
	"postfix/check": {"srs/store", "dkim", "filter", "filter/authn", "filter/authn/dns", "filter/authn/spf",
		"filter/cause", "filter/config", "filter/confine", "filter/domain", "reinject", "postfix",
		"postfix/access", "postfix/layout", "postfix/postconf", "postfix/setup", "postfix/maillog",
		"postfix/maillog/tally"},
	"postfix/maillog/refusal": {"postfix"},
	"postfix/maillog":         {"filter", "filter/cause", "postfix"},
	"postfix/maillog/tally": {"filter/cause", "filter/domain/publicsuffix", "postfix/maillog",
		"postfix/maillog/refusal"},
	"postfix/maillog/present": {"filter/domain", "postfix", "postfix/maillog", "postfix/maillog/refusal",
		"postfix/maillog/tally"},

	"cmd/postmend/manual":    nil,
	"cmd/postmend/start":     nil,
	"cmd/postmend/sbom":      nil,
	"cmd/postmend/packaging": {"cmd/postmend/manual", "cmd/postmend/sbom"},
	"cmd/postmend/syslog":    {"postfix"},
	"cmd/postmend/outcome":   {"filter/cause", "postfix", "cmd/postmend/syslog"},
	"cmd/postmend/serve": {"filter", "filter/cause", "filter/config", "filter/plan", "postfix",
		"postfix/milter", "postfix/lmtp", "srs", "cmd/postmend/outcome", "cmd/postmend/syslog"},
	"cmd/postmend/demo": {"dkim", "reinject", "filter", "filter/authn", "filter/authn/dnsserver",
		"filter/config", "filter/message", "filter/plan", "postfix", "postfix/wholefile"},
}

// The plan decides, and touches nothing: what it needs of clock, files and network is looked up before.
func TestThePlanTouchesNothing(t *testing.T) {
	list := exec.Command("go", "list", "-f", `{{join .Imports "\n"}}`, "./filter/plan")
	list.Dir = ".."
	out, err := list.Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"context", "io", "net", "os", "os/exec", "syscall", "time"} {
		if slices.Contains(strings.Fields(string(out)), name) {
			t.Errorf("filter/plan imports %s", name)
		}
	}
}

func TestNoPackageImportsUpwards(t *testing.T) {
	list := exec.Command("go", "list", "-f", `{{.ImportPath}} {{join .Imports " "}}`, "./...")
	list.Dir = ".."
	out, err := list.Output()
	if err != nil {
		t.Fatal(err)
	}
	const module = "postmend/"
	for line := range strings.Lines(string(out)) {
		words := strings.Fields(line)
		name := strings.TrimPrefix(words[0], module)
		allowed, known := layers[name]
		if strings.HasPrefix(name, "tests") {
			continue
		}
		if !known && name != "cmd/postmend" {
			t.Errorf("%s is not in the table of layers, nor in docs/contributing.md", name)
			continue
		}
		for _, imported := range words[1:] {
			other, ours := strings.CutPrefix(imported, module)
			switch {
			case !ours:
			case strings.HasPrefix(other, "tests"), name != "cmd/postmend" &&
				!slices.Contains(allowed, other):
				t.Errorf("%s imports %s", name, other)
			}
		}
		for _, other := range allowed {
			if !slices.Contains(words[1:], module+other) {
				t.Errorf("%s does not import %s any more: take it off the table", name, other)
			}
		}
	}
}
