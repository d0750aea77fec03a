package dnsserver

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/dns/dnsmessage"
)

// start serves a zone until the test ends.
func start(t *testing.T, zone string) *Server {
	t.Helper()
	s, err := Start(zone)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func TestGosResolverReadsTheZone(t *testing.T) {
	long := "v=DKIM1; p=" + strings.Repeat("A", 3000)
	s := start(t, "# a comment\nexample.org A 192.0.2.1\nexample.org.\tAAAA\t2001:db8::1\n"+
		"example.org MX 10 mx.example.org\nexample.org TXT v=spf1 -all\nexample.org TXT another\n"+
		"s._domainkey.example.org TXT "+long+"\n"+
		"www.example.org CNAME example.org\n1.2.0.192.in-addr.arpa PTR mx.example.org\n"+
		"example.org NS ns.example.org\nnomail.example.org MX 0 .\nbroken.example SERVFAIL\n")
	r, ctx := s.Resolver(), context.Background()

	if got, err := r.LookupTXT(ctx, "EXAMPLE.org."); err != nil ||
		!slices.Equal(got, []string{"v=spf1 -all", "another"}) {
		t.Errorf("TXT: %q, %v", got, err)
	}
	if got, err := r.LookupTXT(ctx, "s._domainkey.example.org."); err != nil ||
		!slices.Equal(got, []string{long}) {
		t.Errorf("a TXT record that does not fit into a datagram: %d texts, %v", len(got), err)
	}
	if got, err := r.LookupHost(ctx, "www.example.org."); err != nil || !slices.Contains(got, "192.0.2.1") ||
		!slices.Contains(got, "2001:db8::1") {
		t.Errorf("addresses through a CNAME: %q, %v", got, err)
	}
	if got, err := r.LookupCNAME(ctx, "www.example.org."); err != nil || got != "example.org." {
		t.Errorf("CNAME: %q, %v", got, err)
	}
	if got, err := r.LookupMX(ctx, "example.org."); err != nil || len(got) != 1 ||
		got[0].Host != "mx.example.org." || got[0].Pref != 10 {
		t.Errorf("MX: %v, %v", got, err)
	}
	if got, err := r.LookupMX(ctx, "nomail.example.org."); err != nil || len(got) != 1 || got[0].Host != "." {
		t.Errorf("a null MX: %v, %v", got, err)
	}
	if got, err := r.LookupNS(ctx, "example.org."); err != nil || len(got) != 1 ||
		got[0].Host != "ns.example.org." {
		t.Errorf("NS: %v, %v", got, err)
	}
	if got, err := r.LookupAddr(ctx, "192.0.2.1"); err != nil ||
		!slices.Equal(got, []string{"mx.example.org."}) {
		t.Errorf("PTR: %q, %v", got, err)
	}
	var failure *net.DNSError
	if _, err := r.LookupTXT(ctx, "broken.example."); !errors.As(err, &failure) || !failure.IsTemporary ||
		failure.IsNotFound {
		t.Errorf("SERVFAIL: %v", err)
	}
	if _, err := r.LookupTXT(ctx, "nothing.example."); !errors.As(err, &failure) || !failure.IsNotFound {
		t.Errorf("a name that does not exist: %v", err)
	}
}

func TestQueriesAreCountedInTheirOrder(t *testing.T) {
	s := start(t, "example.org TXT x")
	s.Resolver().LookupTXT(context.Background(), "_dmarc.Sub.Example.ORG.")
	s.Resolver().LookupTXT(context.Background(), "example.org.")
	if got := s.Queries(); !slices.Equal(got, []string{"_dmarc.sub.example.org. TXT", "example.org. TXT"}) {
		t.Errorf("%q", got)
	}
}

func TestAddedLinesCount(t *testing.T) {
	s := start(t, "")
	if err := s.Add("example.org TXT late"); err != nil {
		t.Fatal(err)
	}
	if got, err := s.Resolver().LookupTXT(context.Background(), "example.org."); err != nil ||
		!slices.Equal(got, []string{"late"}) {
		t.Errorf("%q, %v", got, err)
	}
}

func TestABadLineIsNamed(t *testing.T) {
	for _, line := range []string{
		"a.example A nonsense", "a.example A 2001:db8::1", "a.example AAAA 192.0.2.1",
		"a.example MX mx.example", "a.example MX 10",
		"a.example CNAME", "a.example WAS x", "a.example", "a..example TXT x",
		strings.Repeat("a", 64) + ".example TXT x", strings.Repeat("a.", 127) + "a TXT x",
		"a.example TXT " + strings.Repeat("x", 70000),
	} {
		if _, err := Start("# fine\n" + line); err == nil || !strings.Contains(err.Error(), "line 2") {
			t.Errorf("%.80q: %v", line, err)
		}
	}
}

// ask sends a question over UDP, announcing the given size of datagrams (0: no EDNS), and reads the answer
// to it.
func ask(t *testing.T, conn net.Conn, id uint16, name string, size int) dnsmessage.Message {
	t.Helper()
	send(t, conn, id, name, size)
	buffer := make([]byte, 64<<10)
	n, err := conn.Read(buffer)
	if err != nil {
		t.Fatal(err)
	}
	if limit := max(size, 512); n > limit {
		t.Errorf("%s: an answer of %d octets to a client that takes %d", name, n, limit)
	}
	return unpack(t, buffer[:n], id)
}

func send(t *testing.T, conn net.Conn, id uint16, name string, size int) {
	t.Helper()
	question := dnsmessage.Message{
		Header: dnsmessage.Header{ID: id},
		Questions: []dnsmessage.Question{
			{Name: dnsmessage.MustNewName(name), Type: dnsmessage.TypeTXT, Class: dnsmessage.ClassINET}},
	}
	if size > 0 {
		var opt dnsmessage.ResourceHeader
		opt.SetEDNS0(size, dnsmessage.RCodeSuccess, false)
		question.Additionals = []dnsmessage.Resource{{Header: opt, Body: &dnsmessage.OPTResource{}}}
	}
	packed, err := question.Pack()
	if err != nil {
		t.Fatal(err)
	}
	if conn.LocalAddr().Network() == "tcp" {
		packed = append(binary.BigEndian.AppendUint16(nil, uint16(len(packed))), packed...)
	}
	if _, err := conn.Write(packed); err != nil {
		t.Fatal(err)
	}
}

func unpack(t *testing.T, packed []byte, id uint16) (m dnsmessage.Message) {
	t.Helper()
	if err := m.Unpack(packed); err != nil {
		t.Fatal(err)
	}
	if m.ID != id || !m.Response {
		t.Fatalf("id %d, response %v: want the answer to question %d", m.ID, m.Response, id)
	}
	return m
}

func dial(t *testing.T, s *Server, network string) net.Conn {
	t.Helper()
	conn, err := net.Dial(network, s.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// RFC 2308 section 2: a name that has records of other types, or names below it, exists.
func TestANameExistsIfItHasAnyRecordOrNamesBelow(t *testing.T) {
	s := start(t, "a.b.example.org A 192.0.2.1\nalias.example.org CNAME gone.example.net")
	conn := dial(t, s, "udp")
	for name, want := range map[string]dnsmessage.RCode{
		"a.b.example.org.": dnsmessage.RCodeSuccess, "b.example.org.": dnsmessage.RCodeSuccess,
		"A.B.Example.Org.": dnsmessage.RCodeSuccess, "x.example.org.": dnsmessage.RCodeNameError,
		"c.a.b.example.org.": dnsmessage.RCodeNameError,
		// RFC 6604 section 2: the code is of the end of the chain
		"alias.example.org.": dnsmessage.RCodeNameError,
	} {
		if got := ask(t, conn, 1, name, 0); got.RCode != want {
			t.Errorf("%s: %v, want %v", name, got.RCode, want)
		}
	}
}

func TestAnAnswerThatDoesNotFitIsMarkedTruncated(t *testing.T) {
	s := start(t, "medium.example TXT "+strings.Repeat("x", 800)+"\nlarge.example TXT "+
		strings.Repeat("x", 60000))
	conn := dial(t, s, "udp")
	if got := ask(t, conn, 1, "medium.example.", 0); !got.Truncated || len(got.Answers) > 0 {
		t.Errorf("without EDNS: truncated %v, %d answers", got.Truncated, len(got.Answers))
	}
	if got := ask(t, conn, 2, "medium.example.", 1232); got.Truncated || len(got.Answers) != 1 {
		t.Errorf("with EDNS: truncated %v, %d answers", got.Truncated, len(got.Answers))
	}
	if got := ask(t, conn, 3, "large.example.", 4096); !got.Truncated {
		t.Error("60000 octets of text arrived in a datagram")
	}

	tcp := dial(t, s, "tcp")
	send(t, tcp, 4, "large.example.", 0)
	var length [2]byte
	if _, err := io.ReadFull(tcp, length[:]); err != nil {
		t.Fatal(err)
	}
	answer := make([]byte, binary.BigEndian.Uint16(length[:]))
	if _, err := io.ReadFull(tcp, answer); err != nil {
		t.Fatal(err)
	}
	if got := unpack(t, answer, 4); got.Truncated || len(got.Answers) != 1 {
		t.Errorf("over TCP: truncated %v, %d answers", got.Truncated, len(got.Answers))
	}
}

func TestADroppedQuestionIsNeverAnswered(t *testing.T) {
	conn := dial(t, start(t, "silent.example DROP\nexample.org TXT x"), "udp")
	send(t, conn, 1, "silent.example.", 0)
	ask(t, conn, 2, "example.org.", 0) // fails if what arrives is an answer to question 1
}

func TestCloseEndsOpenConnections(t *testing.T) {
	s := start(t, "silent.example DROP")
	conn := dial(t, s, "tcp")
	send(t, conn, 1, "silent.example.", 0)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Read(make([]byte, 1)); err == nil {
		t.Error("the connection is still served")
	}
}

func TestNonsenseIsNotAnswered(t *testing.T) {
	conn := dial(t, start(t, "example.org TXT x"), "udp")
	for _, nonsense := range []string{"", "x", strings.Repeat("\xff", 600)} {
		if _, err := conn.Write([]byte(nonsense)); err != nil {
			t.Fatal(err)
		}
	}
	ask(t, conn, 7, "example.org.", 0)
}
