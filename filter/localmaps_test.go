package filter

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"postmend/filter/cause"
	"postmend/filter/plan"
	"postmend/tests/peer"
)

// mapsFilter has static.example as a static local domain, and further ones in tables.
func mapsFilter(t *testing.T, tables ...string) *Filter {
	t.Helper()
	peer.Need(t, "postmap")
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "main.cf"),
		[]byte("alias_maps =\nalias_maps = # it warns of the second\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	peer.Age(t, dir)
	t.Setenv("MAIL_CONFIG", dir)
	return filterFrom(t, filepath.Join(dir, "postmend.toml"), fmt.Sprintf("hostname = \"mx.example.org\"\n"+
		"local_domains = [\"static.example\"]\nlocal_domains_maps = [\"%s\"]\n",
		strings.Join(tables, `", "`)))
}

func TestDomainsInPostfixTablesAreLocal(t *testing.T) {
	f := mapsFilter(t, "inline:{a.example=x, sender.example=x}", "inline:{b.example=x}")
	env := &plan.Envelope{Sender: "s@sender.example", ClientAddress: "192.0.2.1"}
	for _, address := range []string{"x@A.example", "x@b.example", "x@static.example", "x@remote.example",
		"x@[192.0.2.1]", "x@a b.example", "-"} {
		env.Recipients = append(env.Recipients, plan.Recipient{Address: address})
	}
	p, err := f.policyFor(t.Context(), env)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]bool{"a.example": true, "b.example": true, "sender.example": true,
		"static.example": true, "remote.example": false} {
		if p.IsLocal(name) != want {
			t.Errorf("%s is local: %t", name, !want)
		}
	}
	env.Recipients = env.Recipients[:3]
	if p.Route(env); !env.IsOnlyLocal() {
		t.Error("a recipient in a table's domain is not local")
	}
	if f.policy.IsLocal("a.example") {
		t.Error("the answers for one envelope are kept for the next")
	}
}

func TestStaticLocalDomainsAskNoTable(t *testing.T) {
	f := mapsFilter(t, "hash:/nonexistent/table")
	env := &plan.Envelope{Sender: "s@sender.example",
		Recipients: []plan.Recipient{{Address: "x@static.example"}}}
	if _, err := f.policyFor(t.Context(), env); err != nil {
		t.Error(err)
	}
}

func TestATableThatFailsDefers(t *testing.T) {
	env := &plan.Envelope{Sender: "s@sender.example",
		Recipients: []plan.Recipient{{Address: "x@remote.example"}}}
	_, err := mapsFilter(t, "inline:{a.example=x}", "hash:/nonexistent/table").policyFor(t.Context(), env)
	var failure *cause.Failure
	if !errors.As(err, &failure) || !failure.Temporary() {
		t.Errorf("got %v, want a temporary failure", err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = mapsFilter(t, "inline:{a.example=x}").policyFor(ended, env)
	if err == nil || !cause.AsFailure(err).Temporary() {
		t.Errorf("past the deadline: %v, want a temporary failure", err)
	}
}

func TestALookUpLeavesSendersOfPostfixTablesAlone(t *testing.T) {
	f := mapsFilter(t, "inline:{a.example=x}")
	f.policy.UseSRS("srs.example.org", nil, errors.New("not to be asked for"))
	if sender, why, err := f.Forward("x@a.example"); sender != "" || why == "" || err != nil {
		t.Errorf("%q, %q, %v", sender, why, err)
	}
	if _, _, err := f.Forward("x@remote.example"); err == nil {
		t.Error("a sender elsewhere is left alone, too")
	}
}

// Postfix takes a domain as it is written: a table may have U-labels or A-labels (RFC 5890), and so may an
// address.
func TestBothSpellingsOfAnInternationalDomainAreLocal(t *testing.T) {
	source := filepath.Join(t.TempDir(), "domains")
	if err := os.WriteFile(source, []byte("münchen.example x\nxn--kln-sna.example x\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	f := mapsFilter(t, "texthash:"+source)
	for address, want := range map[string]bool{
		"x@münchen.example": true, "x@MÜNCHEN.example": true, "x@xn--mnchen-3ya.example": true,
		"x@köln.example": true, "x@xn--kln-sna.example": true, "x@bonn.example": false,
		"x@xn--nrnberg-n2a.example": false,
	} {
		env := &plan.Envelope{Sender: "s@sender.example", ClientAddress: "192.0.2.1",
			Recipients: []plan.Recipient{{Address: address}}}
		p, err := f.policyFor(t.Context(), env)
		if err != nil {
			t.Fatal(err)
		}
		if p.Route(env); env.IsOnlyLocal() != want {
			t.Errorf("%s: local is %t", address, !want)
		}
	}
}
