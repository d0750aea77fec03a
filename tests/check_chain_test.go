package tests

import (
	"bufio"
	"fmt"
	"net"
	"strings"
	"testing"

	"postmend/postfix/check"
	"postmend/tests/listen"
)

// virtual_alias(5): tables are asked in their order, and a pattern answers for whatever it matches.
func TestCheckFindsAPatternInFrontOfOurTable(t *testing.T) {
	t.Parallel()
	h := setUp(t)
	const ours = "socketmap:unix:private/postmend-reverse:reverse"
	h.shell(
		`echo '/@/ catch@example.org' > "$DIR/all"
		pc -X recipient_canonical_maps; pc -e virtual_alias_domains=srs.example.org
		pc -e "virtual_alias_maps=regexp:$DIR/all, ` + ours + `"`)
	wrong := h.check("--no-dns")
	if len(wrong) != 1 || wrong[0].Name != "srs-order" || wrong[0].Severity != check.Error ||
		!strings.Contains(wrong[0].What, "catch@example.org") {
		t.Fatalf("in front: %+v", wrong)
	}
	h.mend(wrong[0])
	if maps := h.run("postconf", "-c", h.dir, "-h",
		"virtual_alias_maps"); maps != ours+", regexp:"+h.dir+"/all\n" {
		t.Errorf("%s", maps)
	}
	wrong = h.check("--no-dns")
	if len(wrong) != 1 || wrong[0].Name != "srs-order" || wrong[0].Severity != check.Warning ||
		!strings.Contains(wrong[0].What, "forged") {
		t.Errorf("behind it takes what is forged: %+v", wrong)
	}
	h.shell(
		`printf '%s\n' 'if !/@srs\.example\.org$/' '/@/ catch@example.org' endif \
			'/^postmaster@/ catch@example.org' > "$DIR/all"`)
	if wrong = h.check("--no-dns"); wrong != nil {
		t.Errorf("the SRS domain left out: %+v", wrong)
	}
}

// A catch-all of a table that is not a pattern is asked after all tables were asked for the whole address.
func TestCheckFindsACatchAllThatTakesForgedAddresses(t *testing.T) {
	t.Parallel()
	h := setUp(t)
	h.shell(`pc -X recipient_canonical_maps
		ours=socketmap:unix:private/postmend-reverse:reverse
		pc -e "virtual_alias_maps=inline:{@srs.example.org=catch@example.org}, $ours"`)
	wrong := h.check("--no-dns")
	if len(wrong) != 1 || wrong[0].Name != "srs-order" || wrong[0].Severity != check.Warning {
		t.Errorf("%+v", wrong)
	}
}

// Whatever its address is, a table that answers with SRS addresses rewrites senders.
func TestCheckAsksTablesForSendersWhatTheyDo(t *testing.T) {
	t.Parallel()
	for reply, isRewriter := range map[string]bool{"200 SRS0=abcd=AA=sender.example=check@example.org": true,
		"500 not here": false, "200 other@example.org": false} {
		table := listen.TCP(t, func(conn net.Conn) { // tcp_table(5)
			for lines := bufio.NewScanner(conn); lines.Scan(); {
				fmt.Fprintln(conn, reply)
			}
		})
		h := setUp(t)
		h.shell(`pc -e sender_canonical_maps=tcp:` + table)
		wrong := h.check("--no-dns")
		if (len(wrong) == 1 && wrong[0].Name == "postsrsd") != isRewriter || !isRewriter && wrong != nil {
			t.Errorf("%s: %+v", reply, wrong)
		}
		h.mendAll(wrong)
		if wrong := h.check("--no-dns"); wrong != nil {
			t.Errorf("%s, after what check said: %+v", reply, wrong)
		}
	}
}

// Postfix takes a domain as it is written, in U-labels or in A-labels (RFC 5890); so may the operator.
func TestCheckTakesBothSpellingsOfADomain(t *testing.T) {
	t.Parallel()
	for postfixs, ours := range map[string]string{"münchen.example": "xn--mnchen-3ya.example",
		"xn--mnchen-3ya.example": "münchen.example", "köln.example": "köln.example"} {
		h := setUp(t)
		h.shell(`pc -e "mydestination=example.org, ` + postfixs +
			`"; c 's/^local_domains.*/local_domains = ["example.org", "` + ours + `"]/'`)
		if wrong := h.check("--no-dns"); wrong != nil {
			t.Errorf("%s: %+v", postfixs, wrong)
		}
		h.shell(`c 's/^local_domains.*/local_domains = ["example.org"]/'`)
		wrong := h.check("--no-dns")
		if len(wrong) != 1 || wrong[0].Name != "local-domains" {
			t.Fatalf("%s: %+v", postfixs, wrong)
		}
		h.mendAll(wrong)
		if wrong := h.check("--no-dns"); wrong != nil {
			t.Errorf("%s, after what check said: %+v", postfixs, wrong)
		}
	}
}
